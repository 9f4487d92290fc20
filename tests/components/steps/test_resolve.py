"""What `newest` and `current` mean is looked up when the run begins; what is named stays as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalogue.versions import store
from components.steps.resolve import resolve
from goodsight.errors import InputError
from goodsight.settings import settings
from lineage import champion
from lineage.ledger import Ledger
from lineage.overrides import Override, digest, in_force, record
from tests.feature_repo.made import product, query, snapshot_of
from tests.lineage.registered import register, write_work


@pytest.fixture
def versions(tmp_path: Path) -> list[str]:
    """Two versions of two catalogues, the shop imported last."""
    home, made = settings().root, []
    for name, titles in (("furniture", "ab"), ("shop", "cd")):
        snapshot = snapshot_of(tmp_path / name, [product(title) for title in titles], [query("q", titles[0])])
        made.append(store(snapshot, home, name))
    return made


def test_the_newest_data_are_those_imported_last(versions: list[str]) -> None:
    assert resolve("newest", "", "")[0] == versions[1]
    assert resolve("furniture", "", "")[0] == resolve(versions[0], "", "")[0] == versions[0]


def test_without_data_there_is_nothing_to_train_on() -> None:
    with pytest.raises(InputError, match="no version"):
        resolve("newest", "current", "current")


def test_the_champion_and_the_overrides_are_those_of_now(versions: list[str], tmp_path: Path) -> None:
    assert resolve("newest", "current", "current")[1:] == ("", "")
    (tmp_path / "work").mkdir()
    version = register(write_work(tmp_path / "work", "a"), "a")
    champion.move(version, None, "Ada", "the first")
    ledger, now = Ledger(settings().ledger_url), datetime.now(UTC)
    record(ledger, Override("floor:leaf_accuracy", "", "a known flaw", "Ada", (now + timedelta(days=1)).isoformat()), now)
    found = resolve("newest", "current", "current")
    assert found == (versions[1], version, digest(in_force(ledger, now)))
    assert found[2]


def test_what_is_named_stays(versions: list[str], tmp_path: Path) -> None:
    assert resolve(versions[0], "7", "a digest") == (versions[0], "7", "a digest")


def test_no_champion_is_a_name_too(versions: list[str], tmp_path: Path) -> None:
    """A run on one machine that was made without a champion is made without one again, and comes from the cache."""
    (tmp_path / "work").mkdir()
    champion.move(register(write_work(tmp_path / "work", "a"), "a"), None, "Ada", "the first")
    assert resolve(versions[0], "", "")[1:] == ("", "")
