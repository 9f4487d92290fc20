"""Makes the embedded sample `samples/furniture` from Debian's furniture libraries for Sweet Home 3D.

Run from the root of the repository (about fifteen minutes on one core; the same input gives the same bytes):

    sudo apt-get install --no-install-recommends sweethome3d-furniture espeak-ng
    python -m samples.make_furniture samples/furniture

The result is a catalogue folder of five modalities: an icon, a title, a table of attributes, a turntable film rendered
from the item's 3D model, and its title spoken by a synthetic voice. LICENSES.md in it says what may be done with it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from samples._groups import leak_groups, splits
from samples._model import load_mesh
from samples._render import turntable
from samples._speech import speak, voice_of
from samples._sweethome import LIBRARIES, Item, read_libraries
from samples._texts import Record, categories, json_lines, licences, queries

FURNITURE = Path("/usr/share/sweethome3d/furniture")
ICON_SIDE = 128
ICON_QUALITY = 88
FILM_QUALITY = 55


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the furniture sample from Debian's package.")
    parser.add_argument("out", type=Path, help="catalogue folder to write; an earlier one there is replaced")
    parser.add_argument("--furniture-dir", type=Path, default=FURNITURE, help="folder of the .sh3f files")
    options = parser.parse_args(arguments)
    if problem := _problem(options.out, options.furniture_dir):
        sys.exit(problem)
    make(options.out, options.furniture_dir)


def _problem(out: Path, furniture_dir: Path) -> str | None:
    """Why the catalogue cannot be made, and what to do about it."""
    missing = [library.name for library in LIBRARIES if not (furniture_dir / f"{library.name}.sh3f").is_file()]
    if missing:
        return (
            f"{furniture_dir} has no {missing[0]}.sh3f; run `apt-get install sweethome3d-furniture`"
            " or name another folder with --furniture-dir."
        )
    if not shutil.which("espeak-ng"):
        return "espeak-ng, which speaks the titles, is not installed; run `apt-get install espeak-ng`."
    if out.exists() and not (out / "products.jsonl").is_file():
        return f"{out} exists and is no catalogue folder; name another one, or remove it first."
    return None


def make(out: Path, furniture_dir: Path) -> None:
    """Write the whole catalogue beside `out`, then put it in its place."""
    items = read_libraries(furniture_dir)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as workplace:
        staged = Path(workplace) / "new"
        for folder in ("images", "video", "audio"):
            (staged / folder).mkdir(parents=True)
        for item in track(items, "Furniture", console=Console(stderr=True)):
            write_media(item, staged)
        write_texts(products(items), staged)
        if out.exists():
            out.rename(Path(workplace) / "old")
        staged.rename(out)


def write_media(item: Item, folder: Path) -> None:
    """The item's icon, film and spoken title."""
    mesh = load_mesh(item.model, lambda path: item.archive.read(str(path)))
    film = turntable(mesh, item.size_cm, item.rotation)
    icon(item).save(folder / "images" / f"{item.id}.jpg", quality=ICON_QUALITY, optimize=True)
    film.save(folder / "video" / f"{item.id}.jpg", quality=FILM_QUALITY, optimize=True)
    (folder / "audio" / f"{item.id}.ogg").write_bytes(speak(item.title, voice_of(item.id)))


def icon(item: Item) -> Image.Image:
    """The item's icon on white, no larger than `ICON_SIDE`."""
    drawing = Image.open(BytesIO(item.icon())).convert("RGBA")
    paper = Image.new("RGBA", drawing.size, "white")
    paper.alpha_composite(drawing)
    picture = paper.convert("RGB")
    picture.thumbnail((ICON_SIDE, ICON_SIDE), Image.Resampling.LANCZOS)
    return picture


def products(items: Sequence[Item]) -> list[Record]:
    """The rows of `products.jsonl`."""
    ids = [item.id for item in items]
    groups = leak_groups(ids, [item.title for item in items], [icon(item) for item in items])
    return [
        item.record() | {"audio_voice": voice_of(item.id), "group": group, "split": split}
        for item, group, split in zip(items, groups, splits(groups), strict=True)
    ]


def write_texts(rows: Sequence[Record], folder: Path) -> None:
    texts = {
        "products.jsonl": json_lines(rows),
        "queries_text.jsonl": json_lines(queries(rows)),
        "categories.txt": categories(rows),
        "LICENSES.md": licences(rows),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
