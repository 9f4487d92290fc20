"""The layouts in which catalogues come: a module each, with `fits(path)` and `source(path)`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from catalogue.layouts import abo, fashiongen, folder, huggingface, m5product
from catalogue.layouts.source import Source
from goodsight.errors import InputError

LAYOUTS: dict[str, ModuleType] = {
    "folder": folder,
    "m5product": m5product,
    "abo": abo,
    "fashiongen": fashiongen,
    "huggingface": huggingface,
}


def open_source(path: Path, layout: str = "") -> Source:
    """The catalogue at `path` in the layout named, or the first that fits. Raises `InputError` when none does."""
    if layout and layout not in LAYOUTS:
        raise InputError(f"There is no layout {layout!r}.", f"Choose one of: {', '.join(LAYOUTS)}.")
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Give the folder of a catalogue.")
    asked = {layout: LAYOUTS[layout]} if layout else LAYOUTS
    fitting = next((module for module in asked.values() if module.fits(path)), None)
    if fitting is None:
        known = "; ".join(f"{name}: {module.WHAT}" for name, module in asked.items())
        raise InputError(f"{path} is no catalogue{f' of layout {layout}' if layout else ''}.", f"Layouts: {known}.")
    source: Source = fitting.source(path)
    return source
