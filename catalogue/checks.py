"""The facts that the expectations judge: one pandas row a product or query, with columns such as `image_error`.

Texts stay in Arrow and only facts reach pandas. A column that ends in `_error`, `_leak` or `_of` (or `unknown_category`, ...) is
null when all is well and holds the words of the reason otherwise, so that an expectation "is null" gives the reason with the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalogue.lookalikes import WORDS, clusters
from catalogue.media_checks import Seen, join, media_of
from catalogue.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

PRODUCT_FACTS = ("id", "title", "description", "category_path", "price", "group", "split", "line", "problems")
EVENT_FACTS = ("product", "kind", "value", "query", "time", "created", "line", "file", "problems")
TOLD = ("product", "kind", "value", "query", "time")  # of an event
QUERY_FACTS = ("id", "kind", "text", "relevant", "split", "line", "file", "problems")
FIELD_ERRORS = {"images": "image_error", "image": "image_error", "video": "video_error", "audio": "audio_error", "price": "price_error"}
ERRORS = ("record_error", "image_error", "video_error", "audio_error", "price_error")
FLAT = 2.0  # standard deviation of brightness below which a picture shows nothing
SCRIPTS = {  # a text in Japanese mixes its three
    **{name: rf"\p{{{name}}}" for name in ("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Thai", "Hangul")},
    "Han or kana": r"[\p{Han}\p{Hiragana}\p{Katakana}]",
}
COMMON_SCRIPT = 0.02  # share of the titles from which on a script belongs to the catalogue

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
Words = NDArray[np.object_]  # texts and None


def _codes(column: pa.ChunkedArray | pa.Array) -> Codes:
    """Equal values get equal numbers, in order of first appearance; a null gets -1."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(pc.fill_null(array.dictionary_encode().indices, -1)).astype(np.int64)


def _firsts(codes: Codes) -> Mask:
    """Rows with the first of equal codes."""
    found = np.zeros(len(codes), dtype=bool)
    found[np.unique(codes, return_index=True)[1]] = True
    return found


def _words(where: Mask, texts: Sequence[str] | Words) -> Words:
    """`texts`, one for each True of `where`, in their places; None elsewhere."""
    found = np.full(len(where), None, dtype=object)
    found[where] = np.asarray(texts, dtype=object)
    return found


def _objects(column: pa.ChunkedArray) -> Words:
    found: Words = column.to_numpy(zero_copy_only=False)
    return found


def _repeated(ids: Codes, lines: NDArray[Any]) -> NDArray[np.float64]:
    """The line of the earlier row with the same id, NaN where there is none."""
    _, first, places = np.unique(ids, return_index=True, return_inverse=True)
    earlier = first[places]
    return np.where(earlier == np.arange(len(ids)), np.nan, lines[earlier].astype(np.float64))


def _errors(problems: pa.ChunkedArray, seen: Seen) -> dict[str, Words]:
    """What the importer and the decoders say, by field."""
    found = {name: np.full(len(problems), None, dtype=object) for name in ERRORS}
    for row, facts in seen.items():
        if facts.image_error or facts.video_error or facts.audio_error:
            for name in ("image_error", "video_error", "audio_error"):
                found[name][row] = getattr(facts, name)
    there = np.asarray(pc.list_value_length(problems)) > 0
    for row, told in zip(np.flatnonzero(there).tolist(), problems.filter(pa.array(there)).to_pylist(), strict=True):
        for problem in told:
            field, _, text = problem.partition(": ")
            name = FIELD_ERRORS.get(field, "record_error")
            found[name][row] = join([found[name][row], problem if name == "record_error" else text])
    return found


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(pc.utf8_length(column)).astype(np.int64)


# Categories


def _unknown(categories: pa.ChunkedArray, codes: Codes, tops: Codes, first: Mask, known: list[str] | None) -> Words:
    """Why a row's category is not known; None where it is, or where there is none."""
    names = _objects(categories)
    if known is not None:
        bad = (codes >= 0) & ~np.asarray(pc.is_in(categories, pa.array(known, pa.string())))
        return _words(bad, [f"unknown category {name!r}; add it to categories.txt to allow it" for name in names[bad]])
    sizes = np.bincount(tops[first & (tops >= 0)], minlength=1 + max(tops.max(initial=0), 0))
    bad = (tops >= 0) & (sizes[tops] < 2)
    told = "unknown category {name!r}: no other product is in {top!r}; to allow it, list all category paths in categories.txt"
    return _words(bad, [told.format(name=name, top=name.split(" > ")[0]) for name in names[bad]])


def _category_facts(table: pa.Table, first: Mask, known: list[str] | None) -> dict[str, Any]:
    paths = table["category_path"].combine_chunks()
    there = pc.greater(pc.list_value_length(paths), 0)
    categories = pa.chunked_array([pc.if_else(there, pc.binary_join(paths, " > "), None)])
    codes, tops = _codes(categories), _codes(pc.if_else(there, pc.binary_join(pc.list_slice(paths, 0, 1), ""), None))
    sizes = np.bincount(codes[first] + 1, minlength=codes.max(initial=0) + 2)[codes + 1]
    return {
        "category": _objects(categories),
        "unknown_category": _unknown(categories, codes, tops, first, known),
        "category_size": sizes.astype(np.int64),
        "category_share": sizes / max(int(first.sum()), 1),
        "label_conflict": _conflicts(table["title"], codes, first, categories),
    }


def _conflicts(titles: pa.ChunkedArray, categories: Codes, first: Mask, names: pa.ChunkedArray) -> Words:
    """Rows that have another category than most products of the same title (of as many the first): candidates for label noise."""
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(titles))
    same = _codes(plain)
    counted = first & (categories >= 0) & (np.asarray(pc.utf8_length(plain)) > 0)
    keys, counts = np.unique(same[counted] * (categories.max(initial=0) + 1) + categories[counted], return_counts=True)
    title, category = np.divmod(keys, categories.max(initial=0) + 1)
    order = np.lexsort((category, -counts, title))  # the most frequent category of each title first
    usual = np.full(same.max(initial=0) + 1, -1, dtype=np.int64)
    leading = order[_firsts(title[order])]
    usual[title[leading]] = category[leading]
    bad = counted & (usual[same] != categories) & (usual[same] >= 0)
    labels = names.combine_chunks().dictionary_encode().dictionary
    return _words(bad, [f"products of the same title are in {labels[int(code)].as_py()!r}" for code in usual[same[bad]]])


# Splits


def _leaks(codes: Codes, train: Mask, held_out: Mask, names: Words) -> Words:
    """For every held-out row the name of the first row of train with which it shares a value, else None."""
    learned = np.flatnonzero(train & (codes >= 0))
    first = np.full(codes.max(initial=0) + 1, -1, dtype=np.int64)
    first[codes[learned[::-1]]] = learned[::-1]
    leaks = held_out & (codes >= 0) & (first[codes] >= 0)
    return _words(leaks, names[first[codes[leaks]]])


def _pictures(seen: Seen, ids: Words, groups: Codes, train: Mask, held_out: Mask) -> dict[str, Any]:
    """Facts of the main images, and who looks like whom across groups; of a flat picture nobody says that."""
    pictures = {row: facts.picture for row, facts in seen.items() if facts.picture}
    rows, shapes = list(pictures), [picture for picture in pictures.values() if picture.contrast >= FLAT]
    sides, contrasts = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    sides[rows] = [picture.side for picture in pictures.values()]
    contrasts[rows] = [picture.contrast for picture in pictures.values()]
    digests, looks = np.full(len(ids), -1, dtype=np.int64), np.full(len(ids), -1, dtype=np.int64)
    digests[rows] = _codes(pa.array([picture.digest for picture in pictures.values()], pa.string()))
    looks[contrasts >= FLAT] = clusters(np.frombuffer(b"".join(shape.look for shape in shapes), dtype=np.uint64).reshape(-1, WORDS))
    leaks = _leaks(digests, train, held_out, ids)
    return {
        "image_side": sides,
        "image_contrast": contrasts,
        "image_leak": leaks,
        "lookalike_of": _lookalikes(looks, groups, ids),
        "lookalike_leak": _leaks(looks, train, held_out & (leaks == None), ids),  # noqa: E711
    }


def _lookalikes(looks: Codes, groups: Codes, ids: Words) -> Words:
    """The id of the first product whose picture looks the same, for products of another group than that one's."""
    known = np.flatnonzero(looks >= 0)
    found = np.full(len(looks), None, dtype=object)
    if len(known):
        _, first, places = np.unique(looks[known], return_index=True, return_inverse=True)
        earliest = known[first[places]]
        other = groups[earliest] != groups[known]
        found[known[other]] = ids[earliest[other]]
    return found


# Texts


def _foreign_scripts(titles: pa.ChunkedArray) -> Words:
    """Titles in a script that is rare in the catalogue, with the script's name."""
    plain = np.asarray(pc.string_is_ascii(titles))
    scripts = np.where(plain, "Latin", "").astype(object)
    rest = titles.filter(pa.array(~plain))
    if len(rest):
        counts = np.stack([np.asarray(pc.count_substring_regex(rest, letters)) for letters in SCRIPTS.values()])
        scripts[~plain] = np.where(counts.max(axis=0) > 0, np.array(list(SCRIPTS), dtype=object)[counts.argmax(axis=0)], "")
    names, places, sizes = np.unique(scripts.astype(str), return_inverse=True, return_counts=True)
    rare = (sizes < COMMON_SCRIPT * len(titles)) & (names != "")
    return _words(rare[places], names[places[rare[places]]])


def _copies(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    """How many rows have the same text; 0 for an empty one."""
    sizes = (np.asarray(pc.utf8_length(texts)) > 0).astype(np.int64)
    shared = _shared(texts) & (sizes > 0)
    codes = _codes(texts.filter(pa.array(shared)))
    sizes[shared] = np.bincount(codes)[codes]
    return sizes


def _shared(texts: pa.ChunkedArray) -> Mask:
    """Rows of which another may have the same text, since it has the same hash: a dictionary of long texts is slow to build."""
    import duckdb

    with duckdb.connect() as connection:
        hashes = connection.from_arrow(pa.table({"text": texts})).project("hash(text) AS hash").to_arrow_table()["hash"]
    _, places, counts = np.unique(np.asarray(hashes), return_inverse=True, return_counts=True)
    found: Mask = counts[places] > 1
    return found


def _price_errors(prices: NDArray[np.float64], there: Mask, told: Words) -> Words:
    found = np.array([error and f"the price {error}" for error in told], dtype=object)
    wrong = there & ~np.isfinite(prices)
    found[wrong] = [f"the price is {price}, not a number that can be paid" for price in prices[wrong]]
    return found


def product_checks(snapshot: Snapshot) -> pd.DataFrame:
    """One row a product with the facts that `expectations/products.json` judges."""
    seen = media_of(snapshot, "products", ["images", "video", "audio"])
    table = snapshot.read("products", PRODUCT_FACTS)
    lines, codes, groups = np.asarray(table["line"]), _codes(table["id"]), _codes(table["group"])
    first, splits, ids = _firsts(codes), _objects(table["split"]), _objects(table["id"])
    train, held_out = first & (splits == "train"), (splits == "val") | (splits == "test")
    errors = _errors(table["problems"], seen)
    prices, priced = _numbers(table["price"])
    errors["price_error"] = _price_errors(prices, priced, errors["price_error"])
    facts = {
        "id": ids,
        "line": lines.astype(np.int64),
        "title_length": _lengths(table["title"]),
        "description_length": _lengths(table["description"]),
        "description_copies": _copies(table["description"]),
        "foreign_script": _foreign_scripts(table["title"]),
        **_category_facts(table, first, snapshot.manifest["categories"]),
        "price": prices,
        "duplicate_of": _repeated(codes, lines),
        "group_leak": _leaks(groups, train, held_out, ids),
        **_pictures(seen, ids, groups, train, held_out),
        "split": splits,
    }
    return _frame(facts | _counts(seen, len(table)) | errors)


def _numbers(column: pa.ChunkedArray) -> tuple[NDArray[np.float64], Mask]:
    """The numbers, NaN for a missing one, and which are there."""
    return np.asarray(pc.fill_null(column, np.nan)).astype(np.float64), np.asarray(column.is_valid())


def _counts(seen: Seen, rows: int) -> dict[str, Any]:
    """How many images each of the `rows` has, and whether it has a video and a sound."""
    found = {"image_count": np.zeros(rows, np.int64), "has_video": np.zeros(rows, bool), "has_audio": np.zeros(rows, bool)}
    places, facts = list(seen), list(seen.values())
    found["image_count"][places] = [each.images for each in facts]
    found["has_video"][places] = [each.has_video for each in facts]
    found["has_audio"][places] = [each.has_audio for each in facts]
    return found


def _frame(facts: dict[str, Any]) -> pd.DataFrame:
    """A frame of the facts as they are, not copied; texts are objects, so that a missing one is None and never NaN."""
    import pandas as pd

    return pd.DataFrame(facts, copy=False)


# Queries


def _content_errors(kinds: Words, lengths: NDArray[np.int64], counts: dict[str, Any], errors: dict[str, Words]) -> Words:
    """Why a query asks nothing: its kind needs what it does not carry."""
    found = np.full(len(kinds), None, dtype=object)
    for kind, what, present, told in (
        ("text", "text", lengths > 0, None),
        ("image", "image", counts["image_count"] > 0, errors["image_error"]),
        ("voice", "audio", counts["has_audio"], errors["audio_error"]),
    ):
        found[(kinds == kind) & ~present & (told == None)] = f"the {kind} query has no {what}"  # noqa: E711
    return found


def _relevant_error(relevant: list[str], kept: set[str]) -> str | None:
    if any(product in kept for product in relevant):
        return None
    return f"none of {', '.join(relevant[:3])} is in the snapshot" if relevant else "it lists no relevant product"


def _strangers(table: pa.Table, words: dict[str, str]) -> Iterator[str | None]:
    """For a text query none of whose words is in a relevant product's words (by id): those words, else None."""
    for kind, text, relevant in zip(*(table[name].to_pylist() for name in ("kind", "text", "relevant")), strict=True):
        told = " ".join(words.get(product, "") for product in relevant)
        asked = set(text.lower().split())
        yield text if kind == "text" and told and asked and asked.isdisjoint(told.split()) else None


def query_checks(snapshot: Snapshot, kept: set[str]) -> pd.DataFrame:
    """One row a query with the facts that `expectations/queries.json` judges; `kept` are the ids of products left."""
    seen = media_of(snapshot, "queries", ["image", "audio"])
    table = snapshot.read("queries", QUERY_FACTS)
    lines, codes = np.asarray(table["line"]), _codes(table["id"])
    splits, kinds, lengths = _objects(table["split"]), _objects(table["kind"]), _lengths(table["text"])
    errors = _errors(table["problems"], seen)
    asks = pc.and_(pc.equal(table["kind"], "text"), pc.greater(pc.utf8_length(table["text"]), 0))
    texts = pc.if_else(asks, pc.utf8_lower(table["text"]), None)
    held_out = (splits == "val") | (splits == "test")
    return _frame(
        {
            "id": _objects(table["id"]),
            "file": _objects(table["file"]),
            "line": lines.astype(np.int64),
            "kind": kinds,
            "text_length": lengths,
            "split": splits,
            "duplicate_of": _repeated(codes, lines),
            "content_error": _content_errors(kinds, lengths, _counts(seen, len(table)), errors),
            "relevant_error": np.array([_relevant_error(ids, kept) for ids in table["relevant"].to_pylist()] or [], dtype=object),
            "relevant_count": np.asarray(pc.list_value_length(table["relevant"])).astype(np.int64),
            "text_leak": _leaks(_codes(texts), _firsts(codes) & (splits == "train"), held_out, _objects(table["id"])),
            "stranger": np.array(list(_strangers(table, _product_words(snapshot, table))), dtype=object),
            **{name: errors[name] for name in ("record_error", "image_error", "audio_error")},
        }
    )


# Events


def event_checks(snapshot: Snapshot, kept: set[str]) -> pd.DataFrame:
    """One row an event with the facts that `expectations/events.json` judges; its `id` is that of its product."""
    table = snapshot.read("events", EVENT_FACTS)
    times, created = table["time"], table["created"]
    early = np.asarray(pc.fill_null(pc.less(created, times), False))
    told = [f"it is said to be written down at {there}, before it happened at {then}" for there, then in _pairs(created, times, early)]
    values, valued = _numbers(table["value"])
    endless = valued & ~np.isfinite(values)
    same = _codes(pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in TOLD), "\0", null_handling="replace"))
    unknown = [product for product in table["product"].unique().to_pylist() if product and product not in kept]
    strange = np.asarray(pc.is_in(table["product"], pa.array(unknown, pa.string())))
    return _frame(
        {
            "id": _objects(table["product"]),
            "file": _objects(table["file"]),
            "line": np.asarray(table["line"]).astype(np.int64),
            "kind": _objects(table["kind"]),
            "time": _objects(times.cast(pa.string())),
            "value_error": _words(endless, [f"the value is {value}, not a finite number" for value in values[endless]]),
            "early": _words(early, told),
            "unknown_product": _words(strange, _objects(table["product"])[strange]),
            "again": _words(~_firsts(same), _objects(table["kind"])[~_firsts(same)]),
            "record_error": _errors(table["problems"], {})["record_error"],
        }
    )


def _pairs(left: pa.ChunkedArray, right: pa.ChunkedArray, where: Mask) -> Iterator[tuple[Any, Any]]:
    chosen = pa.array(where)
    return zip(left.filter(chosen).to_pylist(), right.filter(chosen).to_pylist(), strict=True)


def _product_words(snapshot: Snapshot, queries: pa.Table) -> dict[str, str]:
    """Id -> title and description in small letters, of the products that text queries name."""
    wanted = pc.list_flatten(queries.filter(pc.equal(queries["kind"], "text"))["relevant"].combine_chunks()).unique()
    if not len(wanted):
        return {}
    products = snapshot.products(["id", "title", "description"])
    products = products.filter(pc.is_in(products["id"], wanted))
    words = pc.utf8_lower(pc.binary_join_element_wise(products["title"], products["description"], " "))
    return dict(zip(products["id"].to_pylist(), words.to_pylist(), strict=True))
