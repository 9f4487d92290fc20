"""A `Diff` for people: lines as in a code review, and a page with the pictures."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

from catalogue.diff import Changed, Diff, TableDiff
from catalogue.page import render, thumbnail
from catalogue.records import MEDIA, Row, shown

PICTURES = 4  # of one row


def lines(found: Diff, before: str, after: str) -> Iterator[str]:
    """The diff as text, a sign before each row: + added, - removed, ~ changed."""
    yield f"{before} -> {after}"
    for name, table in (("products", found.products), ("queries", found.queries)):
        yield f"{name}: {summary(table)}"
        yield from (f"  + {row['id']}  {words(row)}" for row in table.added_rows)
        yield from _more(table.added, table.added_rows, "added")
        yield from (f"  - {row['id']}  {words(row)}" for row in table.removed_rows)
        yield from _more(table.removed, table.removed_rows, "removed")
        for change in table.changed_rows:
            yield f"  ~ {change.after['id']}  {words(change.after)}"
            yield from (f"      {field}: {told(change, field)}" for field in change.fields)
        yield from _more(table.changed, table.changed_rows, "changed")
    yield f"categories: {100 * found.categories.moved:.1f} % of the products moved"
    for name, old, new in found.categories.counts[:20]:
        yield f"  {name or 'none'}: {old:,} -> {new:,}{'' if old and new else ' (gone)' if old else ' (new)'}"
    yield from _more(len(found.categories.counts), found.categories.counts[:20], "categories")


def summary(table: TableDiff) -> str:
    """`10,711 -> 10,713; 3 added, 1 removed, 12 changed (price 9, title 4)`."""
    fields = ", ".join(f"{name} {count:,}" for name, count in table.by_field.items())
    changed = f"{table.changed:,} changed" + (f" ({fields})" if fields else "")
    return f"{table.before:,} -> {table.after:,}; {table.added:,} added, {table.removed:,} removed, {changed}"


def words(row: Row) -> str:
    """What a person knows a row by."""
    path = " > ".join(row.get("category_path") or [])
    return (row.get("title") or row.get("text") or "") + (f" ({path})" if path else "")


def _more(count: int, rows: list[Any], what: str) -> Iterator[str]:
    if count > len(rows):
        yield f"  ... and {count - len(rows):,} more {what}"


def told(change: Changed, field: str) -> str:
    """The change of one field in words."""
    before, after = change.before[field], change.after[field]
    if field in MEDIA:
        old, new = (set(value) if isinstance(value, list) else {value} - {None} for value in (before, after))
        return f"{len(old)} -> {len(new)} ({len(new - old)} new, {len(old - new)} gone{', order' if old == new else ''})"
    return f"{shown(before)} -> {shown(after)}"


def page(found: Diff, before: str, after: str) -> str:
    """The diff as one HTML page that loads nothing: its pictures are in it."""
    return render(
        "diff",
        before=before,
        after=after,
        tables=[("products", found.products), ("queries", found.queries)],
        categories=found.categories,
        media=MEDIA,
        summary=summary,
        words=words,
        told=told,
        marked=marked,
        pictures=pictures,
        more=lambda count, rows, what: Markup("").join(Markup("<p class=quiet>{}</p>").format(line) for line in _more(count, rows, what)),
    )


def marked(change: Changed, field: str) -> Markup:
    """Before and after in one text, word by word: what went struck out, what came underlined."""
    old, new = ([part for part in _text(value).split(" ") if part] for value in (change.before[field], change.after[field]))
    parts: list[Markup] = []
    for kind, left, right, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, came = " ".join(old[left:right]), " ".join(new[start:end])
        if kind == "equal":
            parts.append(escape(came))
            continue
        parts += [Markup("<del>{}</del>").format(gone)] if gone else []
        parts += [Markup("<ins>{}</ins>").format(came)] if came else []
    return Markup(" ").join(parts)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return " > ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else json.dumps(value, default=str)


def pictures(row: Row, field: str = "") -> list[str]:
    """Thumbnails of a row's images as `data:` addresses; what cannot be decoded has none."""
    images = row.get(field) if field else row.get("images") or row.get("image")
    found = (thumbnail(data) for data in (images if isinstance(images, list) else [images])[:PICTURES] if data is not None)
    return [address for address in found if address]
