"""The table of prices: what CPUs, memory, GPUs and electricity cost, as a reviewed YAML file (`prices.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from goodsight.reviewed import Reviewed
from goodsight.settings import settings
from lineage.runs import Step

PRICES = Path(__file__).with_name("prices.yaml")
HOUR, GIB = 3600, 2**30


class Prices(Reviewed):
    """Prices in one currency; see `prices.yaml`."""

    WHAT: ClassVar = "The table of prices"
    FILE: ClassVar = PRICES

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    cpu_hour: float = Field(ge=0, allow_inf_nan=False)
    memory_gib_hour: float = Field(ge=0, allow_inf_nan=False)
    gpu_hour: float = Field(ge=0, allow_inf_nan=False)
    kwh: float = Field(ge=0, allow_inf_nan=False)

    @classmethod
    def in_force(cls) -> Prices:
        """The table that GOODSIGHT_PRICES names, else that of this release. Raises `InputError` naming the key that is wrong."""
        return cls.load(Path(settings().prices).expanduser() if settings().prices else None)

    def of(self, step: Step) -> float:
        """Money that a step cost; what was not measured of it costs nothing."""
        gib_hours = (step.peak_rss_bytes or 0) / GIB * step.seconds / HOUR
        return (
            (step.cpu_seconds or 0.0) / HOUR * self.cpu_hour
            + gib_hours * self.memory_gib_hour
            + (step.gpu_seconds or 0.0) / HOUR * self.gpu_hour
            + (step.energy_kwh or 0.0) * self.kwh
        )

    def of_answer(self, seconds: float) -> float:
        """Money that an answer cost at most, which took one CPU for `seconds`."""
        return seconds / HOUR * self.cpu_hour
