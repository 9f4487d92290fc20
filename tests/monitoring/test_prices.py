"""What a step costs by the table of prices."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from goodsight.errors import InputError
from goodsight.settings import settings
from lineage.runs import Step
from monitoring.prices import PRICES, Prices

TABLE = {"currency": "EUR", "cpu_hour": 1.0, "memory_gib_hour": 0.5, "gpu_hour": 10.0, "kwh": 0.25}


def test_every_resource_has_its_price() -> None:
    prices = Prices(**TABLE)
    assert prices.of(Step("a", seconds=1800, cpu_seconds=7200)) == pytest.approx(2.0)
    assert prices.of(Step("a", seconds=1800, peak_rss_bytes=4 * 2**30)) == pytest.approx(1.0)
    assert prices.of(Step("a", seconds=1800, gpu_seconds=3600)) == pytest.approx(10.0)
    assert prices.of(Step("a", energy_kwh=2.0)) == pytest.approx(0.5)
    assert prices.of(Step("a", cached=True)) == 0
    assert prices.of_answer(36) == pytest.approx(0.01)


def test_a_table_of_ones_own_is_taken_and_known_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(TABLE))
    monkeypatch.setenv("GOODSIGHT_PRICES", str(tmp_path / "ours.yaml"))
    settings.cache_clear()
    assert Prices.in_force() == Prices(**TABLE)
    assert Prices.in_force().digest != Prices.load(PRICES).digest


@pytest.mark.parametrize(
    ("change", "words"),
    [({"cpu_hour": -1}, "cpu_hour"), ({"currency": "euro"}, "currency"), ({"disk": 1}, "disk"), ({"kwh": float("nan")}, "kwh")],
)
def test_a_wrong_table_is_refused_by_the_name_of_what_is_wrong(tmp_path: Path, change: dict[str, object], words: str) -> None:
    place = tmp_path / "prices.yaml"
    place.write_text(yaml.safe_dump({**TABLE, **change}))
    with pytest.raises(InputError, match=words):
        Prices.load(place)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Prices.load(tmp_path / "none.yaml")
