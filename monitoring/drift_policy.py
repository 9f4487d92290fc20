"""What counts as drift: which traffic is compared, from what size on a difference matters, and how often it must be seen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from goodsight.reviewed import Strict

Column = Literal["modalities", "language", "category"]


class Window(Strict):
    """The traffic that is compared, task by task: that of the last `days`. Where fewer than `fewest` answers of a task came, it reaches
    back until there are so many, `longest_days` at most. `most` answers are looked at.
    """

    days: float = Field(default=1.0, gt=0)
    longest_days: float = Field(default=14.0, gt=0)
    fewest: int = Field(default=200, ge=50)
    most: int = Field(default=5_000, ge=50)


class Bounds(Strict):
    """From which size of effect on a difference matters, by kind of test (`monitoring.two_samples`)."""

    numeric: float = Field(default=0.2, gt=0, le=1, description="Kolmogorov-Smirnov distance: 0.2 is half a standard deviation.")
    categorical: float = Field(default=0.3, gt=0, description="Cohen's w, corrected for chance: 0.1 is small, 0.3 medium, 0.5 large.")
    rate: float = Field(default=0.2, gt=0, description="Cohen's h: 0.2 is small, 0.5 medium, 0.8 large.")
    embedding: float = Field(default=0.5, gt=0, description="Mahalanobis distance of the means, corrected for chance.")


class DriftPolicy(Strict):
    """The rules of `monitoring.drift`. A finding drifts when its adjusted p is below `alpha` and its effect above its bound."""

    window: Window = Window()
    baseline_days: float = Field(default=3.0, gt=0, description="The first days of a champion, with which later traffic is compared too.")
    alpha: float = Field(default=0.01, gt=0, lt=0.5, description="Chance of one or more false findings in one comparison (Holm).")
    bounds: Bounds = Bounds()
    bound_of: dict[str, float] = Field(default={}, description="Other bounds for single findings, by name: {language: 0.1}.")
    ignored: list[str] = Field(default=[], description="Names of findings that are never made.")
    slices: list[Column] = Field(default=["modalities"], description="Columns whose values are compared apart too, within a task.")
    most_slices: int = Field(default=6, ge=0, description="The commonest values of each that are.")
    consecutive: int = Field(default=2, ge=1, description="Windows in a row that must show a finding before it is confirmed.")
    hours_between: float = Field(default=24.0, ge=0, description="Between the ends of two such windows, at least.")
