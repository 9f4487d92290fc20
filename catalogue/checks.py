"""The facts that the expectations judge: one pandas row a product or query, with columns such as `image_error`.

Media are decoded here, once each, from a stream of batches; only texts and numbers reach pandas. A column that ends in
`_error` (or `_leak`, `unknown_category`, `duplicate_of`) is null when all is well and holds the words of the reason
otherwise, so that an expectation "is null" gives the reason with the row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from catalogue.media import decode_audio, decode_image, video_frames
from catalogue.snapshot import Snapshot
from goodsight.digests import sha256_bytes
from goodsight.errors import InputError
from goodsight.progress import track
from goodsight.settings import settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PRODUCT_FACTS = ("id", "title", "description", "category_path", "price", "group", "split", "line", "problems")
QUERY_FACTS = ("id", "kind", "text", "relevant", "split", "line", "file", "problems")
FIELD_ERRORS = {
    "images": "image_error",
    "image": "image_error",
    "video": "video_error",
    "audio": "audio_error",
    "price": "price_error",
}
ERRORS = ("record_error", "image_error", "video_error", "audio_error", "price_error")
HELD_OUT = ("val", "test")

Facts = dict[str, Any]


def _fault(decode: Callable[[bytes], Any], data: bytes) -> str | None:
    """Why `data` cannot be decoded, or None."""
    try:
        decode(data)
    except InputError as error:
        return error.message
    return None


def _join(reasons: Iterable[str | None]) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None


def _image_error(images: list[bytes]) -> str | None:
    faults = [_fault(decode_image, image) for image in images]
    if len(images) < 2:
        return _join(faults)
    return _join(fault and f"image {number} of {len(images)}: {fault}" for number, fault in enumerate(faults, 1))


def _media_facts(media: Facts) -> Facts:
    """Errors of one row's media; of a product also the digest of its main image."""
    images = media.get("images") or [image for image in [media.get("image")] if image is not None]
    return {
        "image_count": len(images),
        "main_image": sha256_bytes(images[0]) if images else None,
        "image_error": _image_error(images),
        "video_error": _fault(video_frames, media["video"]) if media.get("video") is not None else None,
        "audio_error": _fault(decode_audio, media["audio"]) if media.get("audio") is not None else None,
        "has_video": media.get("video") is not None,
        "has_audio": media.get("audio") is not None,
    }


def _media_rows(batch: pa.RecordBatch, names: list[str]) -> Iterator[Facts]:
    """The media columns of a batch, one row at a time, so that one row's bytes are copied at once."""
    for index in range(batch.num_rows):
        yield {name: batch.column(name)[index].as_py() for name in names}


def _rows(snapshot: Snapshot, table: str, facts: tuple[str, ...], media: list[str]) -> Iterator[Facts]:
    """Facts of every row of a table in order, with its media decoded on all threads."""
    with ThreadPoolExecutor(settings().threads) as pool:
        for batch in snapshot.batches(table, [*facts, *media], size=64):
            found = pool.map(_media_facts, _media_rows(batch, media))
            for row, extra in zip(batch.select(list(facts)).to_pylist(), found, strict=True):
                yield _with_problems(row | extra)


def _with_problems(row: Facts) -> Facts:
    """The problems that the importer noted, as `*_error` facts."""
    for name in ERRORS:
        row.setdefault(name, None)
    for problem in row.pop("problems"):
        field, _, text = problem.partition(": ")
        error = FIELD_ERRORS.get(field, "record_error")
        row[error] = _join([row[error], problem if error == "record_error" else text])
    return row


def _add_duplicates(rows: list[Facts]) -> None:
    """`duplicate_of`: the line of an earlier row with the same id, or None."""
    first: dict[str, int] = {}
    for row in rows:
        row["duplicate_of"] = first.get(row["id"])
        first.setdefault(row["id"], row["line"])


def _frame(rows: list[Facts], columns: list[str]) -> pd.DataFrame:
    """A frame with `columns` and the row number; texts stay objects, so that a missing one is None and never NaN."""
    import pandas as pd

    frame = pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=KINDS.get(name, object)) for name in columns}
    )
    frame.insert(0, "row", range(len(rows)))
    return frame


KINDS: dict[str, Any] = {
    "line": "int64",
    "title_length": "int64",
    "description_length": "int64",
    "text_length": "int64",
    "image_count": "int64",
    "category_size": "int64",
    "category_share": "float64",
    "price": "float64",
    "duplicate_of": "float64",
    "has_video": "bool",
    "has_audio": "bool",
}


def _price_error(row: Facts) -> str | None:
    price = row["price"]
    if price is not None and not abs(price) < float("inf"):
        return f"the price is {price}, not a number that can be paid"
    return row["price_error"] and f"the price {row['price_error']}"


def _unknown_category(row: Facts, known: set[str] | None, tops: Counter[str]) -> str | None:
    path = row["category_path"]
    if not path:
        return None
    if known is not None:
        allowed = row["category"] in known
        return None if allowed else f"unknown category {row['category']!r}; add it to categories.txt to allow it"
    if tops[path[0]] > 1:
        return None
    return (
        f"unknown category {row['category']!r}: no other product is in {path[0]!r}; "
        "to allow it, list all category paths in categories.txt"
    )


def _leaks(rows: list[Facts], key: str) -> list[str | None]:
    """For every val or test row the value of `key` that it shares with a train row (no repeated one), or None."""
    train = {row[key] for row in rows if row["split"] == "train" and row["duplicate_of"] is None} - {None}
    return [row[key] if row["split"] in HELD_OUT and row[key] in train else None for row in rows]


def _add_category_facts(rows: list[Facts], categories: list[str] | None) -> None:
    known = None if categories is None else set(categories)
    for row in rows:
        row["category"] = " > ".join(row["category_path"]) or None
    firsts = list({row["id"]: row for row in reversed(rows)}.values())
    tops = Counter(row["category_path"][0] for row in firsts if row["category_path"])
    sizes = Counter(row["category"] for row in firsts)
    for row in rows:
        row["unknown_category"] = _unknown_category(row, known, tops)
        row["category_size"] = sizes[row["category"]]
        row["category_share"] = sizes[row["category"]] / len(firsts)


def product_checks(snapshot: Snapshot) -> pd.DataFrame:
    """One row a product with the facts that `expectations/products.json` judges."""
    stream = _rows(snapshot, "products", PRODUCT_FACTS, ["images", "video", "audio"])
    rows = list(track(stream, "check products", "products", total=snapshot.manifest["counts"]["products"]))
    _add_category_facts(rows, snapshot.manifest["categories"])
    _add_duplicates(rows)
    for row, group, image in zip(rows, _leaks(rows, "group"), _leaks(rows, "main_image"), strict=True):
        row |= {"group_leak": group, "image_leak": image, "price_error": _price_error(row)}
        row |= {"title_length": len(row["title"]), "description_length": len(row["description"])}
    columns = ["id", "line", "title_length", "description_length", "category", "unknown_category", "category_size"]
    columns += ["category_share", "price", "duplicate_of", "group_leak", "image_leak", "split", "image_count"]
    return _frame(rows, [*columns, "has_video", "has_audio", *ERRORS])


def _content_error(row: Facts) -> str | None:
    """Why the query asks nothing: its kind needs what it does not carry."""
    present = {"text": bool(row["text"]), "image": row["image_count"] > 0, "voice": row["has_audio"]}
    told = row["image_error"] if row["kind"] == "image" else row["audio_error"] if row["kind"] == "voice" else None
    if present[row["kind"]] or told:
        return None
    return f"the {row['kind']} query has no {'audio' if row['kind'] == 'voice' else row['kind']}"


def _relevant_error(row: Facts, kept: set[str]) -> str | None:
    relevant = row["relevant"]
    if any(product in kept for product in relevant):
        return None
    return f"none of {', '.join(relevant[:3])} is in the snapshot" if relevant else "it lists no relevant product"


def query_checks(snapshot: Snapshot, kept: set[str]) -> pd.DataFrame:
    """One row a query with the facts that `expectations/queries.json` judges; `kept` are the ids of products left."""
    stream = _rows(snapshot, "queries", QUERY_FACTS, ["image", "audio"])
    rows = list(track(stream, "check queries", "queries", total=snapshot.manifest["counts"]["queries"]))
    _add_duplicates(rows)
    for row in rows:
        row |= {"text_length": len(row["text"]), "content_error": _content_error(row)}
        row["relevant_error"] = _relevant_error(row, kept)
    columns = ["id", "file", "line", "kind", "text_length", "split", "duplicate_of", "content_error", "relevant_error"]
    return _frame(rows, [*columns, "record_error", "image_error", "audio_error"])
