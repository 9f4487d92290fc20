"""Pages of a catalogue: templates of `pages/`, with the pictures inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import goodsight.page
from catalogue.media import decode_image
from goodsight.errors import InputError

PAGES = Path(__file__).with_name("pages")
THUMBNAIL = 192  # pixels of the longer side


def render(template: str, **values: Any) -> str:
    """The HTML of `pages/<template>.html`; what a catalogue says is escaped."""
    return goodsight.page.render(PAGES, template, **values)


def thumbnail(data: bytes) -> str:
    """A small JPEG of an image as a `data:` address; empty for bytes that are no image."""
    try:
        image = decode_image(data)
    except InputError:
        return ""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
