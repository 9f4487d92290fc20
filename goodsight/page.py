"""Pages that load nothing from anywhere: a room's templates over the one frame of the house, `pages/base.html`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FRAME = Path(__file__).with_name("pages")


def render(templates: Path, name: str, **values: Any) -> str:
    """The HTML of `<name>.html` in the folder `templates`; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader([templates, FRAME]), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(f"{name}.html").render(**values)
