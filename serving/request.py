"""One prediction request: what a caller may ask, checked before anything is decoded or computed.

Three examples: `{"task": "search", "text": "red sofa", "k": 5}`, `{"task": "categorize", "image": "<base64>"}` and
`{"task": "similar", "product": "A12"}`. The content of a request is any of five modalities: text, image, attributes (a table),
video, audio. Each task has its own fields, and refuses those of the others.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from goodsight.digests import sha256_bytes, sha256_json
from goodsight.errors import InputError
from goodsight.settings import settings
from models.config import MODALITIES, Effort
from serving.filters import Filters

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

COPY = "x-goodsight-copy"  # the header of a request whose answer nobody is given: the prediction log does not tell of it
MAX_K = 100
MAX_TEXT_CHARACTERS = 2_000
MAX_ATTRIBUTES_CHARACTERS = 20_000  # of their JSON
MAX_LIKED = 100
MAX_ID_CHARACTERS = 512
EXAMPLE_IMAGE = (  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
Task = Literal["categorize", "search", "embed", "recommend", "similar", "explain"]


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


Media = Annotated[bytes, BeforeValidator(_media_bytes), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
Attributes = Annotated[dict[str, JsonValue], AfterValidator(_short)]
ProductId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]


def _examples(*requests: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(requests)})


class Asked(BaseModel):
    """What a request of any task may have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    k: int = Field(default=10, ge=1, le=MAX_K, description="How many answers.")
    effort: Effort | None = Field(default=None, description="How deep the model computes; default: high.")


class Content(Asked):
    """What is asked about: at least one of text, image, attributes, video, audio."""

    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARACTERS, description="A search, or the title of a product.")
    image: Media | None = Field(default=None, description="A JPEG, PNG, WebP, GIF, BMP or AVIF file.")
    attributes: Attributes = Field(default={}, description="The product's properties and their values.")
    video: Media | None = Field(default=None, description="An MP4, MOV, WebM or MKV file, or an image file of square frames.")
    audio: Media | None = Field(default=None, description="A WAV, FLAC, Ogg or MP3 file.")


class Categorize(Content):
    """Names the category of a product."""

    model_config = _examples({"text": "red velvet sofa", "k": 3})


class Search(Content):
    """Finds products."""

    model_config = _examples({"text": "red sofa", "k": 3, "filters": {"price": {"max": 500.0}}})

    filters: Filters | None = None
    lexical: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="Weight of the words beside the vectors; default: measured."
    )
    rerank: bool = Field(default=False, description="Refused when true: a closer second look made answers worse.")


class Embed(Content):
    """Gives the vector of a product or a query."""

    model_config = _examples({"text": "red sofa"})


class Recommend(Content):
    """Recommends products for a topic, and for somebody who liked some products; either suffices."""

    model_config = _examples({"text": "a cosy reading corner", "k": 3})

    liked: list[ProductId] = Field(default=[], max_length=MAX_LIKED, description="Ids of products; never recommended again.")
    filters: Filters | None = None


class Similar(Asked):
    """Finds the products that are like one of the catalogue."""

    product: ProductId
    filters: Filters | None = None


class Explain(Content):
    """Shows what of a picture an answer hangs on: its likeliest category, or the score of a product.

    The model looks again and again, each time with another part of the picture covered: as long as some fifty requests.
    """

    model_config = _examples({"image": EXAMPLE_IMAGE, "about": "categorize"})

    about: Literal["categorize", "search"] = "categorize"
    product: ProductId | None = Field(default=None, description="About a search: the id of the product; default: the best one.")


FIELDS: dict[str, type[Asked]] = {
    "categorize": Categorize,
    "search": Search,
    "embed": Embed,
    "recommend": Recommend,
    "similar": Similar,
    "explain": Explain,
}


@dataclass(frozen=True)
class Request:
    """A request that can be answered: it has content, or names products; at most `k` answers are wanted."""

    task: Task
    k: int
    effort: Effort | None = None
    text: str | None = None
    image: Image.Image | None = None  # RGB
    table: dict[str, Any] | None = None
    video: list[Image.Image] | None = None  # frames
    audio: tuple[np.ndarray, int] | None = None  # samples (n,) in [-1, 1], rate in Hz
    filters: Filters | None = None
    lexical: float | None = None
    rerank: bool = False
    liked: tuple[str, ...] = ()
    product: str | None = None
    about: Literal["categorize", "search"] = "categorize"
    digest: str = ""  # sha256 of the request, in hex: see `_digest`

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that it has."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    @property
    def products(self) -> tuple[str, ...]:
        """The products of the catalogue that it names."""
        return (self.product,) if self.product else self.liked


def _sentence(error: ValidationError) -> str:
    """What is wrong, field by field, without repeating the payload."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    parts = {f"{'.'.join(map(str, item['loc'][:1])) or 'request'}: {item['msg'].removeprefix('Value error, ')}" for item in details}
    return "; ".join(sorted(parts))


def _checked(request: Mapping[str, Any]) -> tuple[Task, Asked]:
    """The task and its fields. Raises `InputError` for a task that does not exist and for fields that are not as they should be."""
    fields = dict(request)
    task = fields.pop("task", None)
    if not isinstance(task, str) or task not in FIELDS:
        *others, last = map(repr, FIELDS)
        what = "Field required" if task is None else f"Input should be {', '.join(others)} or {last}"
        raise InputError(f"Bad request: task: {what}.")
    try:
        return cast(Task, task), FIELDS[task].model_validate(fields)
    except ValidationError as error:
        raise InputError(f"Bad request: {_sentence(error)}.") from error


def _digest(task: str, fields: Asked) -> str:
    """sha256 over the request as canonical JSON: fields without a value are left out, a medium is the sha256 of its bytes."""
    told = {"task": task, **fields.model_dump(exclude_none=True)}
    kept = {name: value for name, value in told.items() if value is not False and value not in ("", {}, b"", [])}
    return sha256_json({name: sha256_bytes(value) if isinstance(value, bytes) else value for name, value in kept.items()})


def _content(fields: Content) -> dict[str, Any]:
    """The modalities, decoded. Raises `InputError` for a medium that cannot be."""
    from catalogue.media import decode_audio, decode_image, video_frames

    return {
        "text": (fields.text or "").strip() or None,
        "image": decode_image(fields.image) if fields.image else None,
        "table": {name: value for name, value in fields.attributes.items() if value not in (None, "", [])} or None,
        "video": video_frames(fields.video) if fields.video else None,
        "audio": decode_audio(fields.audio) if fields.audio else None,
    }


def _explained(fields: Explain) -> dict[str, Any]:
    if not fields.image:
        raise InputError("Bad request: image: give the picture that is to be explained.")
    if fields.product and fields.about != "search":
        raise InputError("Bad request: product: it belongs to an explanation about a search.")
    return {"about": fields.about, "product": fields.product}


def parse(request: Mapping[str, Any]) -> Request:
    """The checked request, its image decoded. Raises `InputError` with one clear sentence for anything else."""
    task, fields = _checked(request)
    found: dict[str, Any] = {"k": fields.k, "effort": fields.effort, "digest": _digest(task, fields)}
    if isinstance(fields, Content):
        found |= _content(fields)
    if isinstance(fields, Search):
        found |= {"lexical": fields.lexical, "rerank": fields.rerank}
    if isinstance(fields, Recommend):
        found["liked"] = tuple(dict.fromkeys(fields.liked))
    if isinstance(fields, Similar):
        found["product"] = fields.product
    if isinstance(fields, Explain):
        found |= _explained(fields)
    made = Request(task, **found, filters=getattr(fields, "filters", None))
    if not made.modalities and not made.products:
        liked = ", or liked products" if task == "recommend" else ""
        raise InputError(f"Bad request: give a text, an image, attributes, a video or a sound{liked}.")
    return made
