"""Overrides: what it takes for one to hold, and that a check passes by one and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from goodsight.errors import InputError
from lineage.gate import decide
from lineage.ledger import Ledger
from lineage.overrides import KIND, Override, digest, in_force, record, recorded
from tests.lineage.evaluations import evaluation, hits, only, policy

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
SOUND = Override("leaf_accuracy/floor", "", "the shelf was photographed in the dark", "ada", "2027-01-31")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def verdict(tmp_path: Path, ledger: Ledger, now: datetime = NOW) -> dict:
    folder = tmp_path / "candidate"
    if not folder.exists():
        evaluation(folder, {"leaf_accuracy": hits(40, 60)})
    return decide(folder, None, policy(leaf_accuracy={"floor": 0.5}), in_force(ledger, now))


def test_a_failed_check_passes_by_an_override_that_says_who_why_and_until_when(tmp_path: Path, ledger: Ledger) -> None:
    assert verdict(tmp_path, ledger)["decision"] == "reject"
    event = record(ledger, SOUND, NOW)
    assert (event.kind, event.actor, event.payload["reason"]) == (KIND, "ada", SOUND.reason)
    found = verdict(tmp_path, ledger)
    check = only(found, "floor")
    assert found["decision"] == "promote"
    assert (check["pass"], check["outcome"]) == (True, "overridden")
    assert check["override"] == {"by": "ada", "reason": SOUND.reason, "until": "2027-01-31"}


@pytest.mark.parametrize(
    "change",
    [{"reason": ""}, {"reason": "  "}, {"by": ""}, {"until": ""}, {"until": "2027-01-30"}, {"until": "soon"}, {"check": "leaf_accuracy"}],
)
def test_one_without_reason_name_or_time_does_not_pass_even_when_it_is_in_the_ledger(
    tmp_path: Path, ledger: Ledger, change: dict[str, str]
) -> None:
    said = vars(replace(SOUND, **change))
    ledger.append(KIND, said.pop("by"), [], said)
    found = verdict(tmp_path, ledger)
    assert found["decision"] == "reject"
    assert only(found, "floor")["override"] is None
    assert len(recorded(ledger)) == 1


@pytest.mark.parametrize("payload", [{}, {"check": "leaf_accuracy/floor", "reason": None, "until": None}, {"until": 5}])
def test_an_event_with_parts_missing_overrides_nothing(tmp_path: Path, ledger: Ledger, payload: dict) -> None:
    ledger.append(KIND, "ada", [], payload)
    assert in_force(ledger, NOW) == []


def test_it_holds_to_the_end_of_its_day_and_no_longer(tmp_path: Path, ledger: Ledger) -> None:
    record(ledger, SOUND, NOW)
    last, over = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)
    assert verdict(tmp_path, ledger, last)["decision"] == "promote"
    assert verdict(tmp_path, ledger, over)["decision"] == "reject"


def test_it_is_for_the_candidate_it_names(tmp_path: Path, ledger: Ledger) -> None:
    record(ledger, replace(SOUND, candidate="another"), NOW)
    assert verdict(tmp_path, ledger)["decision"] == "reject"
    event = record(ledger, replace(SOUND, candidate="candidate" * 8), NOW)
    assert event.subjects == ["candidate" * 8]
    assert verdict(tmp_path, ledger)["decision"] == "promote"


def test_a_check_that_passes_by_itself_needs_none(tmp_path: Path, ledger: Ledger) -> None:
    record(ledger, replace(SOUND, check="leaf_accuracy/measured"), NOW)
    assert only(verdict(tmp_path, ledger), "measured")["outcome"] == "passed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reason": " "}, "needs --reason"),
        ({"by": ""}, "needs --by"),
        ({"check": ""}, "needs --check"),
        ({"until": "2027-01-30"}, "is over"),
        ({"until": "tomorrow"}, "no date"),
        ({"until": "2027-02-30"}, "no date"),
        ({"until": "9999-12-31"}, "no date"),
    ],
)
def test_one_that_would_not_hold_is_refused(ledger: Ledger, change: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        record(ledger, replace(SOUND, **change), NOW)
    assert recorded(ledger) == []


def test_the_digest_is_that_of_what_holds(ledger: Ledger) -> None:
    assert digest(in_force(ledger, NOW)) == ""
    record(ledger, SOUND, NOW)
    one = digest(in_force(ledger, NOW))
    record(ledger, replace(SOUND, check="macro_f1/floor"), NOW)
    assert len({one, digest(in_force(ledger, NOW)), ""}) == 3
