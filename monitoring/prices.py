"""The table of prices: what CPUs, memory, GPUs and electricity cost, as a reviewed YAML file (`prices.yaml`)."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goodsight.digests import sha256_json
from goodsight.errors import InputError
from goodsight.settings import settings
from lineage.runs import Step

PRICES = Path(__file__).with_name("prices.yaml")
HOUR, GIB = 3600, 2**30


class Prices(BaseModel):
    """Prices in one currency; see `prices.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    cpu_hour: float = Field(ge=0, allow_inf_nan=False)
    memory_gib_hour: float = Field(ge=0, allow_inf_nan=False)
    gpu_hour: float = Field(ge=0, allow_inf_nan=False)
    kwh: float = Field(ge=0, allow_inf_nan=False)

    @staticmethod
    def load(path: Path | None = None) -> Prices:
        """The table in `path`, else in GOODSIGHT_PRICES, else that of this release. Raises `InputError` saying what is wrong in it."""
        place = path or (Path(settings().prices).expanduser() if settings().prices else PRICES)
        hint = f"{PRICES} is one that is right."
        try:
            return Prices.model_validate(yaml.safe_load(place.read_text()))
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"The table of prices {place} cannot be read: {error}", hint) from error
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the whole"
            raise InputError(f"In the table of prices {place}, {where}: {fault['msg']}.", hint) from error

    @property
    def digest(self) -> str:
        return sha256_json(self.model_dump())

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
