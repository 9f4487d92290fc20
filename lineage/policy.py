"""The gate's policy: what a candidate must show before it may serve, as a reviewed YAML file (`policy.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from goodsight.reviewed import Reviewed, Strict

POLICY = Path(__file__).with_name("policy.yaml")
Kind = Literal["non_inferiority", "superiority"]


class Rule(Strict):
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


class SliceRule(Strict):
    """Non-inferiority of `metrics` within every slice whose name matches one of the patterns `within`."""

    metrics: list[str] = Field(min_length=1)
    within: list[str] = Field(min_length=1)
    margin: float = Field(gt=0, le=1)
    min_items: int = Field(ge=2)


class Ceiling(Strict):
    """The most that a figure may be of which less is better: at all, and beside the champion's."""

    ceiling: float | None = Field(default=None, ge=0)
    worsening: float | None = Field(default=None, ge=0)
    growth: float | None = Field(default=None, ge=0)


class Policy(Reviewed):
    """The rules of the gate, and how the comparison with the champion is done."""

    WHAT: ClassVar = "The gate's policy"
    FILE: ClassVar = POLICY

    confidence: float = Field(ge=0.8, lt=1)
    power: float = Field(gt=0.5, lt=1)
    resamples: int = Field(ge=100)
    seed: int = Field(ge=0)
    min_items_in_common: int = Field(ge=2)
    primary: str | None = None
    undecided: Literal["weigh", "reject"] = "reject"
    index_tolerance: float = Field(default=1e-3, ge=0, lt=1)
    metrics: dict[str, Rule] = Field(min_length=1)
    slices: list[SliceRule] = []
    ceilings: dict[str, Ceiling] = {}

    @property
    def alpha(self) -> float:
        """The chance that is taken of one or more comparisons being shown although their null hypothesis is true."""
        return 1 - self.confidence
