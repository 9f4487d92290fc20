from __future__ import annotations

from pathlib import Path

import pytest

from goodsight.errors import InputError
from monitoring.policy import POLICY, RetrainingPolicy, met, names

TWO = "triggers: {a: {kind: snapshot}, b: {kind: drift, groups: [input]}}\n"


def test_the_policy_of_this_release_is_whole_and_names_each_of_its_triggers() -> None:
    default = RetrainingPolicy.load()
    assert set(names(default.expression)) == set(default.triggers)
    assert {each.kind for each in default.triggers.values()} == {"schedule", "snapshot", "drift", "decay", "makers"}
    assert len(default.digest) == 64
    assert default.digest != RetrainingPolicy.parse(POLICY.read_text().replace("hours: 24,", "hours: 25,")).digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("triggers: {a: {kind: snapshot, share: 1}}", "triggers.a.snapshot.share"),
        ("triggers: {a: {kind: sunshine}}", "triggers.a"),
        ("triggers: {a: {kind: schedule, cron: '61 * * * *'}}", "no schedule of cron"),
        ("triggers: {a: {kind: schedule, cron: '0 3 * * *', timezone: Europe/Atlantis}}", "is no time zone"),
        (TWO + "when: {all: [a, c]}", "'c', which is none of the triggers"),
        (TWO + "when: {any: []}", "when"),
        ("triggers: {manual: {kind: snapshot}}", "cannot be called 'manual'"),
        (TWO + "budget: {runs: -1}", "budget.runs"),
        (TWO + "quiet_hours: [{from: '25:00', to: '06:00'}]", "quiet_hours.0.from"),
        (TWO + "quiet_hours: [{from: 22:00, to: '06:00'}]", "write it in quotes"),  # YAML reads 1320
        (TWO + "quiet_hours: [{from: '22:00Z', to: '06:00'}]", "without a zone"),
        (TWO + "drift: {alpha: 2}", "drift.alpha"),
        ("triggers: [", "cannot be read"),
        ("", "is wrong at the whole file"),
    ],
)
def test_a_wrong_policy_says_where(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        RetrainingPolicy.parse(text)
    assert said in error.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no.yaml cannot be read"):
        RetrainingPolicy.load(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    ("when", "fired", "by"),
    [
        ("a", {"a"}, ["a"]),
        ("a", {"b"}, []),
        ("{any: [a, b]}", {"b"}, ["b"]),
        ("{all: [a, b]}", {"b"}, []),
        ("{all: [a, b]}", {"a", "b"}, ["a", "b"]),
        ("{any: [a, {all: [b, {any: [a, b]}]}]}", {"b"}, ["b"]),
        ("null", {"b"}, ["b"]),
    ],
)
def test_all_and_any_stand_one_within_the_other(when: str, fired: set[str], by: list[str]) -> None:
    assert met(RetrainingPolicy.parse(f"{TWO}when: {when}").expression, fired) == by
