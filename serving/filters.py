"""What a caller may ask of products beside nearness: their category, their price, their attributes.

All conditions must hold; of several values for one property, one suffices. An example:
`{"category": ["Seating"], "price": {"max": 500}, "attributes": {"colour": ["red", "green"]}}`.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_VALUES = 100  # of one property
MAX_NAMES = 20
MAX_CHARACTERS = 500
Value = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
Values = Annotated[list[Value], Field(max_length=MAX_VALUES)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Prices(_Strict):
    """From `min` to `max`, both included. A product without a price is in no range."""

    min: Amount | None = None
    max: Amount | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is more than max")
        return self


class Filters(_Strict):
    """What products must have.

    A category stands for all below it: "Seating" is also "Seating > Sofa". Names and values of attributes are compared without
    regard to case; numbers and truth values are written as in JSON ("59.4", "true"). An empty list asks for nothing.
    """

    category: Values = []
    price: Prices = Prices()
    attributes: dict[Value, Values] = Field(default={}, max_length=MAX_NAMES)
