"""The mapping file: which columns of somebody's table are which fields of ours.

    product:
      id: sku                                             # a column
      title: [brand, name.en]                             # several, joined; a dot goes into an object
      category_path: {column: category, separator: "/"}   # one column that holds a list
      images: [image_1, image_2]                          # lists are laid end to end
      attributes: [colour, material]                      # an object with these columns
      licence: {value: CC-BY-4.0}                         # the same for all

A field that the mapping does not name keeps its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from catalogue.layouts.tables import Line, Table
from catalogue.records import EVENT_FIELDS, PRODUCT_FIELDS, QUERY_FIELDS, Row, shown
from goodsight.errors import InputError

FIELDS = {"product": PRODUCT_FIELDS, "query": QUERY_FIELDS, "event": EVENT_FIELDS}
LISTS = ("category_path", "images", "relevant")
OBJECTS = ("attributes", "title_i18n")


class Cell(BaseModel):
    """Where a field comes from: one column, cut at `separator` where that is given, or a `value` for all."""

    model_config = ConfigDict(extra="forbid")
    column: str = ""
    separator: str = ""
    value: Any = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.column) == (self.value is not None):
            raise ValueError("give either a column or a value")
        return self


Sources = dict[str, str | list[str] | Cell]  # our field -> their columns


class ColumnMapping(BaseModel):
    """What `FILE.yaml` says, by kind of record."""

    model_config = ConfigDict(extra="forbid")
    product: Sources = {}
    query: Sources = {}
    event: Sources = {}

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        for kind, known in FIELDS.items():
            if unknown := sorted(set(getattr(self, kind)) - set(known)):
                raise ValueError(f"a {kind} has no field {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a mapping file. Raises `InputError` that names what is wrong in it."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()) or {})
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"The mapping {path} cannot be read: {error}") from error
        except ValidationError as error:
            first = error.errors()[-1]  # of a column's three forms the last one says most
            place = ".".join(map(str, first["loc"][:2]))
            said = f"The mapping {path} is wrong{f' at {place}' if place else ''}: {first['msg']}"
            raise InputError(said, "Each field is a column, a list of columns, or {column, separator} or {value}.") from error

    def apply(self, tables: list[Table]) -> list[Table]:
        """The tables with each record's fields under our names."""
        return [replace(table, lines=_mapped(table, columns)) if (columns := getattr(self, table.kind)) else table for table in tables]


def _mapped(table: Table, columns: Sources) -> Iterator[Line]:
    """Raises `InputError` at the end when no record had a column at all, not even an empty one."""
    missing = set(_columns(columns.values()))
    seen = False
    for line in table.lines:
        if line.record is None:
            yield line
            continue
        seen = True
        missing -= {name for name in missing if _has(line.record, name)}
        fields = {name: found for name, spec in columns.items() if (found := _field(name, spec, line.record)) is not None}
        yield replace(line, record={name: value for name, value in line.record.items() if name not in columns} | fields)
    if seen and missing:
        absent = ", ".join(sorted(missing))
        raise InputError(f"No record of {table.name} has a column {absent}.", "Correct the names in the mapping file.")


def _columns(specs: Iterable[str | list[str] | Cell]) -> Iterator[str]:
    for spec in specs:
        if isinstance(spec, Cell):
            yield from [spec.column] if spec.column else []
        else:
            yield from [spec] if isinstance(spec, str) else spec


def _value(record: Row, column: str) -> Any:
    """The value under `column`, or the one that its dots lead to."""
    if column in record or "." not in column:
        return record.get(column)
    first, _, rest = column.partition(".")
    inner = record.get(first)
    return _value(inner, rest) if isinstance(inner, dict) else None


def _has(record: Row, column: str) -> bool:
    first, _, rest = column.partition(".")
    inner = record.get(first)
    return column in record or (bool(rest) and isinstance(inner, dict) and _has(inner, rest))


def _field(name: str, spec: str | list[str] | Cell, record: Row) -> Any:
    if isinstance(spec, Cell):
        value = _value(record, spec.column) if spec.column else spec.value
        cut = isinstance(value, str) and spec.separator
        return [part.strip() for part in value.split(spec.separator) if part.strip()] if cut else value
    if isinstance(spec, str):
        return _value(record, spec)
    found = {column: value for column in spec if (value := _value(record, column)) is not None}
    if name in OBJECTS:
        return found or None
    values = [item for value in found.values() for item in (value if isinstance(value, list) else [value])]
    if name in LISTS:
        return values or None
    return " ".join(value if isinstance(value, str) else shown(value) for value in values) or None
