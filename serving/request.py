"""One prediction request: what a caller may ask, checked before anything is decoded or computed.

Two examples: `{"task": "search", "text": "red sofa", "k": 5}` and `{"task": "categorize", "image": "<base64>"}`.
A request has any of five modalities: text, image, attributes (a table), video, audio.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, ValidationInfo

from goodsight.digests import sha256_bytes, sha256_json
from goodsight.errors import InputError
from goodsight.settings import settings
from models.config import MODALITIES

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_K = 100
MAX_TEXT_CHARACTERS = 2_000
MAX_ATTRIBUTES_CHARACTERS = 20_000  # of their JSON


def max_media_bytes() -> int:
    """Largest image, video or sound of a request, in bytes: a photo from a phone fits, and the server holds several at once."""
    return min(settings().max_media_bytes, 12 * 2**20)


def _media_bytes(value: Any, info: ValidationInfo) -> Any:
    """Bytes as they are, base64 text decoded; the size is checked before the decoding."""
    limit = max_media_bytes()
    size = len(value) * 3 // 4 if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0
    if size > limit:
        raise ValueError(f"the {info.field_name} has {size:,} bytes; at most {limit:,} are allowed")
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the {info.field_name} is not base64") from error


def _short(attributes: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(attributes, allow_nan=False))
    if size > MAX_ATTRIBUTES_CHARACTERS:
        raise ValueError(f"they have {size:,} characters as JSON; at most {MAX_ATTRIBUTES_CHARACTERS:,} are allowed")
    return attributes


Media = Annotated[bytes, BeforeValidator(_media_bytes)]
Attributes = Annotated[dict[str, JsonValue], AfterValidator(_short)]


class _Fields(BaseModel):
    """The fields of a request as they come."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: Literal["categorize", "search"]
    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARACTERS)
    image: Media | None = None
    attributes: Attributes = {}
    video: Media | None = None
    audio: Media | None = None
    k: int = Field(default=10, ge=1, le=MAX_K)


@dataclass(frozen=True)
class Request:
    """A request that can be answered: at least one modality, decoded, and at most `k` answers wanted."""

    task: Literal["categorize", "search"]
    k: int
    text: str | None = None
    image: Image.Image | None = None  # RGB
    table: dict[str, Any] | None = None
    video: list[Image.Image] | None = None  # frames
    audio: tuple[np.ndarray, int] | None = None  # samples (n,) in [-1, 1], rate in Hz
    digest: str = ""  # sha256 of the request, in hex: see `_digest`

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that it has."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)


def _sentence(error: ValidationError) -> str:
    """What is wrong, field by field, without repeating the payload."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    parts = {f"{'.'.join(map(str, item['loc'][:1])) or 'request'}: {item['msg'].removeprefix('Value error, ')}" for item in details}
    return "; ".join(sorted(parts))


def _digest(fields: _Fields) -> str:
    """sha256 over the request as canonical JSON: fields without a value are left out, a medium is the sha256 of its bytes."""
    told = {name: value for name, value in fields.model_dump().items() if value not in (None, "", {}, b"")}
    return sha256_json({name: sha256_bytes(value) if isinstance(value, bytes) else value for name, value in told.items()})


def parse(request: Mapping[str, Any]) -> Request:
    """The checked request, its image decoded. Raises `InputError` with one clear sentence for anything else."""
    from catalogue.media import decode_audio, decode_image, video_frames

    try:
        fields = _Fields.model_validate(dict(request))
    except ValidationError as error:
        raise InputError(f"Bad request: {_sentence(error)}.") from error
    found = Request(
        fields.task,
        fields.k,
        text=(fields.text or "").strip() or None,
        image=decode_image(fields.image) if fields.image else None,
        table={name: value for name, value in fields.attributes.items() if value not in (None, "", [])} or None,
        video=video_frames(fields.video) if fields.video else None,
        audio=decode_audio(fields.audio) if fields.audio else None,
        digest=_digest(fields),
    )
    if not found.modalities:
        raise InputError("Bad request: give a text, an image, attributes, a video or a sound.")
    return found
