"""What a product, a query, an event and an unreadable line are, as Arrow rows, and how one line of JSON becomes a row.

Reading is lenient: whatever is a JSON object with an id becomes a row, so that validation can judge all of it. A value
of the wrong type is left out and named in `problems` ("price: 'abc' is no number"); validation turns problems into
reasons. Media bytes come from the `read` function that the importer gives.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from goodsight.digests import canonical_json, sha256_bytes
from goodsight.errors import InputError

TEXT = pa.string()
TEXTS = pa.list_(pa.string())
TIME = pa.timestamp("us", tz="UTC")

PRODUCT_SCHEMA = pa.schema(
    [
        ("id", TEXT),
        ("source", TEXT),
        ("title", TEXT),
        ("description", TEXT),
        ("title_i18n", TEXT),  # canonical JSON object: language -> title
        ("category_path", TEXTS),
        ("attributes", TEXT),  # canonical JSON object
        ("price", pa.float64()),
        ("images", pa.list_(pa.binary())),
        ("video", pa.binary()),
        ("audio", pa.binary()),
        ("group", TEXT),
        ("split", TEXT),
        ("licence", TEXT),
        ("updated", TIME),
        ("line", pa.int32()),
        ("file", TEXT),
        ("problems", TEXTS),
    ]
)
QUERY_SCHEMA = pa.schema(
    [
        ("id", TEXT),
        ("kind", TEXT),
        ("text", TEXT),
        ("image", pa.binary()),
        ("audio", pa.binary()),
        ("relevant", TEXTS),
        ("split", TEXT),
        ("source", TEXT),
        ("updated", TIME),
        ("line", pa.int32()),
        ("file", TEXT),
        ("problems", TEXTS),
    ]
)
PRODUCT_FIELDS = tuple(name for name in PRODUCT_SCHEMA.names if name not in ("line", "file", "problems"))
QUERY_FIELDS = ("id", "kind", "text", "image", "audio", "relevant", "split", "source", "updated")
EVENT_FIELDS = ("product", "kind", "value", "query", "time", "created")
EVENT_SCHEMA = pa.schema(
    [
        ("product", TEXT),  # id
        ("kind", TEXT),  # view, click, cart, purchase, price, ...
        ("value", pa.float64()),  # of a price event the price, else what the shop counts
        ("query", TEXT),  # the words searched for, when a search led to it
        ("time", TIME),  # when it happened
        ("created", TIME),  # when it was written down
        ("line", pa.int32()),
        ("file", TEXT),
        ("problems", TEXTS),
    ]
)
UNREADABLE_SCHEMA = pa.schema([("kind", TEXT), ("file", TEXT), ("line", pa.int32()), ("text", TEXT), ("reason", TEXT)])
TOMBSTONE_SCHEMA = pa.schema([("kind", TEXT), ("id", TEXT), ("file", TEXT), ("line", pa.int32())])
RELEASE_SCHEMA = pa.schema([("kind", TEXT), ("id", TEXT), ("labels", TEXTS), ("reason", TEXT), ("by", TEXT)])
MEDIA = ("images", "video", "audio", "image")

SPLIT_RULE = (
    "product: its own split, else train/val/test 70/10/20 by sha256 of its group; "
    "query: its own split, else that of its relevant products, one of several by sha256 of its text; "
    "when all of them are catalogue, 70/10/20 by sha256 of its text"
)
TABLE_OF = {"product": "products", "query": "queries", "event": "events"}  # kind of record -> its table in a snapshot
KINDS = ("text", "image", "voice")
SPLITS = ("train", "val", "test")
MAX_LINE_BYTES = 8 * 2**20
MAX_IMAGES = 32
MAX_NESTING = 100  # lists and objects inside each other
SHOWN = 60  # characters of a bad value in a message

Read = Callable[[str | bytes], bytes]  # a media file by its path; bytes stand for themselves
Row = dict[str, Any]


def shown(value: Any) -> str:
    """A value as a message shows it: cut, in quotes when it is text."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def parse_json(raw: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The JSON value in `raw`, its objects made by `pairs` if that is given. Raises `InputError` with the reason when there is none."""
    try:
        return json.loads(raw.decode("utf-8-sig").strip(), object_pairs_hook=pairs)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise InputError("the JSON is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"broken JSON: {error.msg} at character {error.colno}") from error
    except ValueError as error:
        raise InputError(f"broken JSON: {error}") from error


def as_record(value: Any) -> Row:
    """A JSON value as a record. Raises `InputError` when it is no object, or one nested so deeply that nothing could write it again."""
    depth, inside = 0, [value]
    while inside := [item for item in inside if isinstance(item, list | dict)]:
        depth += 1
        inside = [each for item in inside for each in (item.values() if isinstance(item, dict) else item)]
        if depth > MAX_NESTING:
            raise InputError(f"the JSON is nested too deeply: more than {MAX_NESTING} levels")
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object but {shown(value)}")
    return value


def parse_line(raw: bytes) -> Row:
    """The JSON object in one line. Raises `InputError` with the reason when there is none."""
    if len(raw) > MAX_LINE_BYTES:
        raise InputError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    return as_record(parse_json(raw))


def _clean(text: str) -> str:
    """`text` with halves of characters (lone surrogates, which no file can hold) replaced by a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any) -> Any:
    """A JSON value that can be written again: text cleaned, NaN and infinities as null."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_clean(str(key)): _plain(item) for key, item in value.items()}
    return shown(value) if isinstance(value, bytes) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or math.isfinite(value))


class Fields:
    """The fields of one record, each taken as the type it should have; what cannot be kept is noted in `problems`."""

    def __init__(self, record: Row) -> None:
        self.record = record
        self.problems: list[str] = []

    def _note(self, name: str, text: str) -> None:
        self.problems.append(f"{name}: {_clean(text)}")

    def text(self, name: str) -> str:
        """Text; a number is taken as its digits. Empty when missing."""
        value = self.record.get(name)
        if value is None:
            return ""
        if _is_finite(value):
            return str(value)
        if not isinstance(value, str):
            self._note(name, f"{shown(value)} is no text")
            return ""
        if _clean(value) != value:
            self._note(name, f"{shown(value)} holds half a character (a lone surrogate)")
        return _clean(value)

    def texts(self, name: str) -> list[str]:
        """List of texts; a single text is a list of one."""
        return [_clean(str(item)) for item in self._items(name, lambda item: isinstance(item, str) or _is_finite(item))]

    def _items(self, name: str, fits: Callable[[Any], bool]) -> list[Any]:
        value = self.record.get(name)
        items = [] if value is None else value if isinstance(value, list) else [value]
        kept = [item for item in items if fits(item)]
        if len(kept) < len(items):
            self._note(name, f"{shown(value)} is no list of {'files' if name in MEDIA else 'texts'}")
        return kept

    def number(self, name: str) -> float | None:
        """Number, also when written as text ("9.90"); NaN is kept for validation to refuse."""
        value = self.record.get(name)
        if value is None:
            return None
        try:
            if _is_number(value) or isinstance(value, str):
                return float(value)
        except (ValueError, OverflowError):
            pass
        self._note(name, f"{shown(value)} is no number")
        return None

    def json_object(self, name: str) -> str:
        """JSON object as canonical text; `{}` when missing."""
        value = self.record.get(name)
        if value is not None and not isinstance(value, dict):
            self._note(name, f"{shown(value)} is no JSON object")
            value = None
        return canonical_json(_plain(value or {}))

    def time(self, name: str) -> datetime | None:
        """ISO 8601 time in UTC; a time without zone is taken as UTC."""
        value = self.record.get(name)
        if value is None:
            return None
        try:
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            self._note(name, f"{shown(value)} is no ISO 8601 time")
            return None

    def media(self, name: str, read: Read) -> list[bytes]:
        """Bytes of the media files that the field names or holds; those that cannot be read are noted."""
        given = self._items(name, lambda item: isinstance(item, str | bytes))
        if len(given) > MAX_IMAGES:
            self._note(name, f"{len(given)} files, only the first {MAX_IMAGES} are taken")
        found = []
        for file in given[:MAX_IMAGES]:
            try:
                found.append(read(file))
            except InputError as error:
                self._note(name, error.message)
        return found

    def one_media(self, name: str, read: Read) -> bytes | None:
        """Bytes of the single media file that the field names, or None."""
        return next(iter(self.media(name, read)), None)


def record_id(record: Row, *names: str) -> str:
    """The id under the first of `names` that is there. Raises `InputError` when there is none."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            return _clean(value.strip())
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    raise InputError(f"no id: {names[0]!r} is {shown(record.get(names[0]))}")


def share_of(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone."""
    return int(sha256_bytes(text.encode())[:12], 16) / 16**12


def assigned_split(group: str) -> str:
    """The split of a product that brings none."""
    share = share_of(group)
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"


def query_split(text: str, splits: set[str]) -> str:
    """The split of a query that brings none, by the splits of its relevant products (SPLIT_RULE)."""
    choices = sorted(splits & set(SPLITS))
    return choices[int(share_of(text) * len(choices))] if choices else assigned_split(text)


def _category_path(fields: Fields) -> list[str]:
    """Levels of the category; a level written as "A > B" counts as two."""
    levels = (level.strip() for text in fields.texts("category_path") for level in text.split(" > "))
    return [level for level in levels if level]


def product_row(record: Row, line: int, file: str, read: Read) -> Row:
    """A row of PRODUCT_SCHEMA. Raises `InputError` when the record has no id."""
    fields = Fields(record)
    identity = record_id(record, "id")
    group = fields.text("group") or identity
    return {
        "id": identity,
        "source": fields.text("source"),
        "title": fields.text("title").strip(),
        "description": fields.text("description").strip(),
        "title_i18n": fields.json_object("title_i18n"),
        "category_path": _category_path(fields),
        "attributes": fields.json_object("attributes"),
        "price": fields.number("price"),
        "images": fields.media("images", read),
        "video": fields.one_media("video", read),
        "audio": fields.one_media("audio", read),
        "group": group,
        "split": fields.text("split") or assigned_split(group),
        "licence": fields.text("licence"),
        "updated": fields.time("updated"),
        "line": line,
        "file": file,
        "problems": fields.problems,
    }


def _query_kind(record: Row) -> str:
    """`kind` when it is one of ours, else what the record carries: image, audio (voice) or text."""
    if record.get("kind") in KINDS:
        return str(record["kind"])
    return "image" if record.get("image") else "voice" if record.get("audio") else "text"


def query_row(record: Row, line: int, file: str, splits: dict[str, str], read: Read) -> Row:
    """A row of QUERY_SCHEMA; `splits` is the split of every product id. Raises `InputError` when there is no id."""
    fields = Fields(record)
    identity = record_id(record, "id", "qid")
    text = (fields.text("text") or fields.text("transcript")).strip()
    relevant = list(dict.fromkeys(fields.texts("relevant")))
    known = {splits[product] for product in relevant if product in splits}
    return {
        "id": identity,
        "kind": _query_kind(record),
        "text": text,
        "image": fields.one_media("image", read),
        "audio": fields.one_media("audio", read),
        "relevant": relevant,
        "split": fields.text("split") or query_split(text or identity, known),
        "source": fields.text("source"),
        "updated": fields.time("updated"),
        "line": line,
        "file": file,
        "problems": fields.problems,
    }


def event_row(record: Row, line: int, file: str) -> Row:
    """A row of EVENT_SCHEMA; an event that does not say when it was written down was written when it happened."""
    fields = Fields(record)
    time, created = fields.time("time"), fields.time("created")
    return {
        "product": fields.text("product").strip(),
        "kind": fields.text("kind").strip(),
        "value": fields.number("value"),
        "query": fields.text("query").strip(),
        "time": time,
        "created": created or time,
        "line": line,
        "file": file,
        "problems": fields.problems,
    }


def tombstone_row(record: Row, kind: str, file: str, line: int) -> Row:
    """A row of TOMBSTONE_SCHEMA: the record says that the product or query of its id is no more. Raises `InputError` without an id."""
    return {"kind": kind, "id": record_id(record, "id", "qid"), "file": file, "line": line}


def unreadable_row(kind: str, file: str, line: int, text: str, reason: str) -> Row:
    """A row of UNREADABLE_SCHEMA: a line that is no record of its `kind`, with the start of its text."""
    return {
        "kind": kind,
        "file": file,
        "line": line,
        "text": _clean(text),
        "reason": _clean(reason),
    }
