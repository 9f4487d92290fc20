"""One prediction request: what a caller may ask, checked before anything is decoded or computed.

Two examples: `{"task": "search", "text": "red sofa", "k": 5}` and `{"task": "categorize", "image": "<base64>"}`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from goodsight.errors import InputError
from goodsight.settings import settings

if TYPE_CHECKING:
    from PIL import Image

MAX_K = 100
MAX_TEXT_CHARACTERS = 2_000


def max_image_bytes() -> int:
    """Largest image of a request, in bytes: a photo from a phone fits, and the server holds several at once."""
    return min(settings().max_media_bytes, 12 * 2**20)


def _image_bytes(value: Any) -> Any:
    """Bytes as they are, base64 text decoded; the size is checked before the decoding."""
    limit = max_image_bytes()
    size = len(value) * 3 // 4 if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0
    if size > limit:
        raise ValueError(f"the image has {size:,} bytes; at most {limit:,} are allowed")
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the image is not base64") from error


class _Fields(BaseModel):
    """The fields of a request as they come."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: Literal["categorize", "search"]
    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARACTERS)
    image: Annotated[bytes, BeforeValidator(_image_bytes)] | None = None
    k: int = Field(default=10, ge=1, le=MAX_K)


@dataclass(frozen=True)
class Request:
    """A request that can be answered: `text` or `image` (RGB) or both, and at most `k` answers wanted."""

    task: Literal["categorize", "search"]
    text: str | None
    image: Image.Image | None
    k: int


def _sentence(error: ValidationError) -> str:
    """What is wrong, field by field, without repeating the payload."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    parts = {f"{'.'.join(map(str, item['loc'][:1])) or 'request'}: {item['msg'].removeprefix('Value error, ')}" for item in details}
    return "; ".join(sorted(parts))


def parse(request: Mapping[str, Any]) -> Request:
    """The checked request, its image decoded. Raises `InputError` with one clear sentence for anything else."""
    from catalogue.media import decode_image

    try:
        fields = _Fields.model_validate(dict(request))
    except ValidationError as error:
        raise InputError(f"Bad request: {_sentence(error)}.") from error
    text = (fields.text or "").strip() or None
    if text is None and not fields.image:
        raise InputError("Bad request: give a text, an image or both.")
    image = decode_image(fields.image) if fields.image else None
    return Request(fields.task, text, image, fields.k)
