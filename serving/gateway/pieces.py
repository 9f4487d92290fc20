"""What feedback looks like on the wire: three kinds of pieces, each about one answer, and what is answered to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, TypeAdapter

from serving.gateway.schemas import LARGEST_BATCH
from serving.request import MAX_ID_CHARACTERS, MAX_TEXT_CHARACTERS

NO_NUL = r"^[^\x00]*$"  # which databases do not take
UUID = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"
EXAMPLE_ID = "01938c5e-7a1b-7c3d-9e4f-2b6a8d0c1e5f"
MOST_CATEGORY = 1_000  # characters
MOST_VISITOR = 128

ProductId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=NO_NUL, description="Id of a product of the answer.")]


class _Piece(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    prediction: str = Field(pattern=UUID, description="The `id` that the answer came with.")
    time: str = Field(
        default="", max_length=40, json_schema_extra={"format": "date-time"}, description="When it happened, ISO 8601; default: now."
    )
    visitor: str = Field(
        default="", max_length=MOST_VISITOR, pattern=NO_NUL,
        description="Tells your visitors apart, so that one alone counts once; kept as a digest that changes every day.",
    )  # fmt: skip


class _Act(_Piece):
    product: ProductId
    query: str = Field(
        default="", max_length=MAX_TEXT_CHARACTERS, pattern=NO_NUL,
        description="The words searched for, only where they are to be kept: they become part of the data that models learn from.",
    )  # fmt: skip


class Click(_Act):
    """Somebody looked closer at a product of the answer."""

    kind: Literal["click"]


class Purchase(_Act):
    """Somebody bought a product of the answer."""

    kind: Literal["purchase"]
    value: float | None = Field(default=None, ge=0, le=1e12, allow_inf_nan=False, description="What was paid, as the shop counts.")


class RightCategory(_Piece):
    """Somebody says which category is right: of what was to be categorized, or of a product of the answer.

    To an answer to categorize, name the product of the catalogue that was asked about, if it is one: then the category is its label in
    the next version of the data.
    """

    kind: Literal["category"]
    category: str = Field(
        min_length=1, max_length=MOST_CATEGORY, pattern=r"^[^\x00]*[^\x00\s>][^\x00]*$", description='Levels with " > " between them.'
    )
    product: str = Field(default="", max_length=MAX_ID_CHARACTERS, pattern=NO_NUL, description="Id of the product.")


Piece = Annotated[Click | Purchase | RightCategory, Discriminator("kind")]
PIECE: TypeAdapter[Click | Purchase | RightCategory] = TypeAdapter(Piece)
MODELS: list[type[BaseModel]] = [Click, Purchase, RightCategory]


class Kept(BaseModel):
    """What was said is kept, now or before."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Of this piece of feedback.")
    new: bool = Field(description="False when it was said before: then nothing has changed.")


EXAMPLES: dict[str, Any] = {
    "click": {"prediction": EXAMPLE_ID, "kind": "click", "product": "sofa-1"},
    "purchase": {"prediction": EXAMPLE_ID, "kind": "purchase", "product": "sofa-1", "value": 449.0},
    "category": {"prediction": EXAMPLE_ID, "kind": "category", "product": "sofa-1", "category": "Living room"},
}


def body(ref: str) -> dict[str, Any]:
    """The body of a request as the OpenAPI document has it; `ref` is where schemas are."""
    one = {"anyOf": [{"$ref": f"{ref}{model.__name__}"} for model in MODELS]}
    requests = {"type": "array", "minItems": 1, "maxItems": LARGEST_BATCH, "items": {"anyOf": [one, {"type": "object"}]}}
    batch = {"type": "object", "required": ["requests"], "properties": {"requests": requests}, "additionalProperties": False}
    examples = {name: {"value": value} for name, value in EXAMPLES.items()} | {"batch": {"value": {"requests": list(EXAMPLES.values())}}}
    return {"required": True, "content": {"application/json": {"schema": {"anyOf": [one, batch]}, "examples": examples}}}


def answered(ref: str) -> dict[str, Any]:
    """The answer's schema."""
    each = {"anyOf": [{"$ref": f"{ref}{Kept.__name__}"}, {"$ref": f"{ref}Problem"}]}
    batch = {"type": "object", "required": ["responses"], "properties": {"responses": {"type": "array", "items": each}}}
    return {"anyOf": [{"$ref": f"{ref}{Kept.__name__}"}, batch]}
