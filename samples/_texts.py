"""The text files beside the products: derived text queries, the taxonomy, and the licence notice."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from samples._sweethome import LEFT_OUT, LIBRARIES

Record = dict[str, Any]

_COMMON = 60  # a tag of more products than this is no query: "outdoor" finds too much to be worth ranking


def queries(products: Sequence[Record]) -> list[Record]:
    """One query for each name and for each tag, naming every product that has it."""
    names: dict[str, set[str]] = defaultdict(set)
    tags: dict[str, set[str]] = defaultdict(set)
    for product in products:
        names[product["title"].lower()].add(product["id"])
        for tag in filter(None, product["description"].split(", ")):
            tags[tag.lower()].add(product["id"])
    found = [(text, ids, "name") for text, ids in sorted(names.items())]
    found += [(text, ids, "tag") for text, ids in sorted(tags.items()) if len(ids) <= _COMMON]
    return [
        {
            "qid": f"tq-{number:05d}",
            "text": text,
            "relevant": sorted(ids),
            "origin": "derived",
            "rule": rule,
            "source": "sh3d",
        }
        for number, (text, ids, rule) in enumerate(found)
    ]


def categories(products: Iterable[Record]) -> str:
    """The taxonomy: one category path a line."""
    paths = {" > ".join(product["category_path"]) for product in products}
    return "".join(f"{path}\n" for path in sorted(paths))


def json_lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def licences(products: Sequence[Record]) -> str:
    """The notice that the licences ask for: whose work it is, under which terms, and what we changed."""
    return f"""\
# Licences and provenance of the furniture sample

The {len(products)} items come from version 1.8 of the furniture libraries of Sweet Home 3D
(https://www.sweethome3d.com), as packed in Debian's `sweethome3d-furniture` 1.8-1 (section main). The terms below
are those of that package's `debian/copyright` and of the `LICENSE.TXT` in each library. In `products.jsonl` every item
names its `library`, its `licence` and, as `attributes.creator`, who made it.

| library | items | licence | work of |
|---|---|---|---|
{_library_rows(products)}
Models were converted to OBJ and catalogued by Emmanuel Puybaret / eTeks. No author endorses Goodsight.

## Changes made

- Left out: the library Reallusion and the category "{LEFT_OUT}" (people and animals).
- `images/`: the items' icons, flattened on white, at most 128 pixels wide and high, saved as JPEG.
- `video/`: turntable strips that we rendered from the items' OBJ models and textures.
- `audio/`: the items' English names, spoken by espeak-ng. Synthetic speech: it adds little beyond the text.
- `products.jsonl`: the libraries' properties under our field names; leak groups and splits are ours.
- `queries_text.jsonl`: derived by us from names and tags.

`samples/make_furniture.py` makes all of this again from the package.

## Creators

{_creators(products)}"""


def _library_rows(products: Sequence[Record]) -> str:
    rows = ""
    for library in LIBRARIES:
        count = sum(product["library"] == library.name for product in products)
        rows += f"| {library.name} | {count} | [{library.licence}]({library.url}) | {library.holder} |\n"
    return rows


def _creators(products: Sequence[Record]) -> str:
    text = ""
    for library in LIBRARIES:
        names = {product["attributes"]["creator"] for product in products if product["library"] == library.name}
        text += f"- {library.name}: {', '.join(sorted(names, key=str.casefold))}\n"
    return text
