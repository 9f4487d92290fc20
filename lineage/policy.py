"""The gate's policy: what a candidate must show before it may serve, as a reviewed YAML file (`policy.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from goodsight.digests import sha256_json
from goodsight.errors import InputError

POLICY = Path(__file__).with_name("policy.yaml")
Kind = Literal["non_inferiority", "superiority"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Strict):
    """What one metric must show; see `policy.yaml`."""

    required: bool = True
    floor: float | None = Field(default=None, ge=0, le=1)
    baseline: str | None = None
    allowance: float = Field(default=0.0, ge=0, le=1)
    comparison: Kind = "non_inferiority"
    margin: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _superiority_has_a_margin(self) -> Self:
        if self.comparison == "superiority" and self.margin is None:
            raise ValueError("superiority needs a margin: the gain that the items must be able to show")
        return self


class SliceRule(_Strict):
    """Non-inferiority of `metrics` within every slice whose name matches one of the patterns `within`."""

    metrics: list[str] = Field(min_length=1)
    within: list[str] = Field(min_length=1)
    margin: float = Field(gt=0, le=1)
    min_items: int = Field(ge=2)


class Ceiling(_Strict):
    """The most that a figure may be of which less is better: at all, and beside the champion's."""

    ceiling: float | None = Field(default=None, ge=0)
    worsening: float | None = Field(default=None, ge=0)
    growth: float | None = Field(default=None, ge=0)


class Policy(_Strict):
    """The rules of the gate, and how the comparison with the champion is done."""

    confidence: float = Field(ge=0.8, lt=1)
    power: float = Field(gt=0.5, lt=1)
    resamples: int = Field(ge=100)
    seed: int = Field(ge=0)
    min_items_in_common: int = Field(ge=2)
    primary: str | None = None
    index_tolerance: float = Field(default=1e-3, ge=0, lt=1)
    metrics: dict[str, Rule] = Field(min_length=1)
    slices: list[SliceRule] = []
    ceilings: dict[str, Ceiling] = {}

    @classmethod
    def load(cls, path: Path = POLICY) -> Policy:
        """The policy in a YAML file. Raises `InputError` naming the key that is wrong."""
        try:
            text = path.read_text()
        except OSError as error:
            raise InputError(f"The gate's policy {path} cannot be read: {error}", "Give a YAML file.") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "given") -> Policy:
        """The policy in YAML `text`, called `name` in errors. Raises `InputError` naming the key that is wrong."""
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise InputError(f"The gate's policy {name} cannot be read: {error}", "Give a YAML file.") from error
        except ValidationError as error:
            wrong = error.errors()[0]
            key = ".".join(map(str, wrong["loc"])) or "the whole file"
            message = f"The gate's policy {name} is wrong at {key}: {wrong['msg']}"
            raise InputError(message, f"Correct {key}.") from error

    @property
    def digest(self) -> str:
        return sha256_json(self.model_dump())

    @property
    def alpha(self) -> float:
        """The chance that is taken of one or more comparisons being shown although their null hypothesis is true."""
        return 1 - self.confidence
