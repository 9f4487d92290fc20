"""Reading Sweet Home 3D furniture libraries (`.sh3f`): one zip holds the items' properties, icons and OBJ models.

`read_libraries` yields an `Item` for each piece of furniture; `Item.record` is its row of `products.jsonl`
without the fields that depend on the other items (group, split) or on our media (voice).
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

LANGUAGES = ("fr", "de", "es", "it")
LEFT_OUT = "Characters"  # people and animals are no household items

_LOGICAL_LINE = re.compile(r"((?:\\.|[^\\=:\s])+)\s*[=:]?\s*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


@dataclass(frozen=True)
class Library:
    """One `.sh3f` file and the terms under which Debian's copyright file says it may be passed on."""

    name: str
    licence: str
    url: str
    holder: str


LIBRARIES = (
    Library(
        "BlendSwap-CC-0",
        "CC0",
        "https://creativecommons.org/publicdomain/zero/1.0/",
        "contributors of blendswap.com; collected by Emmanuel Puybaret / eTeks",
    ),
    Library(
        "BlendSwap-CC-BY",
        "CC BY 3.0",
        "https://creativecommons.org/licenses/by/3.0/",
        "contributors of blendswap.com, named below",
    ),
    Library(
        "KatorLegaz",
        "CC BY 3.0 US",
        "https://creativecommons.org/licenses/by/3.0/us/",
        "(c) 2003-2008 Andrew Kator & Jennifer Legaz",
    ),
    Library(
        "Scopia",
        "CC BY 3.0",
        "https://creativecommons.org/licenses/by/3.0/",
        "(c) 2010-2012 Scopia Visual Interfaces Systems, s.l., https://www.scopia.es",
    ),
)


@dataclass(frozen=True)
class Item:
    """One piece of furniture: its properties, its names in other languages and the zip that holds its files."""

    library: Library
    archive: zipfile.ZipFile
    properties: Mapping[str, str]
    names: Mapping[str, str]

    @property
    def id(self) -> str:
        """`sh3d-<library>-<name>`, safe as a file name."""
        return "sh3d-" + re.sub(r"[^A-Za-z0-9]+", "-", self.properties["id"])

    @property
    def title(self) -> str:
        return self.properties["name"]

    @property
    def tags(self) -> list[str]:
        """What the library says about the item beyond its name; the library's own name is no tag."""
        tags = (tag.strip() for tag in self.properties["tags"].split(","))
        return [tag for tag in tags if tag not in ("", "Blend Swap")]

    @property
    def size_cm(self) -> tuple[float, float, float]:
        """Width, height and depth."""
        width, height, depth = (float(self.properties[key]) for key in ("width", "height", "depth"))
        return width, height, depth

    @property
    def rotation(self) -> list[float]:
        """The 3x3 matrix, row by row, that stands the model upright with its front towards the viewer."""
        return [float(value) for value in self.properties.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]

    @property
    def model(self) -> PurePosixPath:
        """The OBJ file's path inside the archive."""
        return PurePosixPath(self.properties["model"].lstrip("/"))

    def icon(self) -> bytes:
        return self.archive.read(self.properties["icon"].lstrip("/"))

    def record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "source": "sh3d",
            "title": self.title,
            "description": ", ".join(self.tags),
            "title_i18n": dict(self.names),
            "category_path": [self.properties["category"]],
            "attributes": self._attributes(),
            "images": [f"images/{self.id}.jpg"],
            "video": f"video/{self.id}.jpg",
            "audio": f"audio/{self.id}.ogg",
            "licence": self.library.licence,
            "library": self.library.name,
        }

    def _attributes(self) -> dict[str, float | bool | str]:
        values = self.properties
        attributes: dict[str, float | bool | str] = {f"{side}_cm": float(values[side]) for side in ("width", "depth", "height")}
        attributes["movable"] = values["movable"] == "true"
        attributes["door_or_window"] = values["doorOrWindow"] == "true"
        attributes["created"] = values["creationDate"]
        attributes["creator"] = values["creator"]
        if "elevation" in values:
            attributes["elevation_cm"] = float(values["elevation"])
        attributes["light_source"] = "lightSourceX" in values
        return attributes


def read_libraries(folder: Path) -> list[Item]:
    """All household items of the libraries in `folder`, in the libraries' order."""
    return [item for library in LIBRARIES for item in _read_library(folder / f"{library.name}.sh3f", library)]


def _read_library(path: Path, library: Library) -> list[Item]:
    archive = zipfile.ZipFile(path)
    items = numbered(parse_properties(archive.read("PluginFurnitureCatalog.properties")))
    translations = {
        language: numbered(parse_properties(archive.read(f"PluginFurnitureCatalog_{language}.properties"))) for language in LANGUAGES
    }
    return [
        Item(library, archive, values, {language: items_[number]["name"] for language, items_ in translations.items()})
        for number, values in sorted(items.items())
        if values["category"] != LEFT_OUT
    ]


def numbered(properties: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """Properties by item: `name#7=Bed` becomes `{7: {"name": "Bed"}}`; properties of the library are dropped."""
    items: dict[int, dict[str, str]] = defaultdict(dict)
    for key, value in properties.items():
        name, _, number = key.partition("#")
        if number.isdigit():
            items[int(number)][name] = value
    return dict(items)


def parse_properties(data: bytes) -> dict[str, str]:
    """A Java properties file (ISO 8859-1, backslash escapes, continued lines) as a dict."""
    lines = re.split(r"\r\n|\r|\n", data.decode("iso-8859-1"))
    properties: dict[str, str] = {}
    pending = ""
    for line in lines:
        line = pending + line.lstrip()
        pending = ""
        if not line or line[0] in "#!":
            continue
        if (len(line) - len(line.rstrip("\\"))) % 2:
            pending = line[:-1]
        elif match := _LOGICAL_LINE.match(line):
            properties[_unescape(match[1])] = _unescape(match[2].rstrip())
    return properties


def _unescape(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _CONTROL.get(code, code)

    return _ESCAPE.sub(character, text)
