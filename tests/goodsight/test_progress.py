"""Progress lines: what is printed can be parsed, and nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodsight.progress import emit, note, parse, track

FIELDS = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name != "kind"),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.text(), fields=FIELDS)
def test_what_is_printed_is_parsed(kind: str, fields: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    emit(kind, **fields)
    lines = capsys.readouterr().out.splitlines()
    assert [parse(line) for line in lines] == [{"kind": kind, **fields}]
    assert parse(f"[KFP Executor 12:00] {lines[0]}") == {"kind": kind, **fields}


@given(st.text())
def test_other_output_is_no_event(line: str) -> None:
    assert parse(line) is None


@pytest.mark.parametrize(
    "line",
    ["@goodsight", "@goodsight {", "@goodsight []", '@goodsight {"text": "x"}', "@goodsight 1", "@goodsight null"],
)
def test_half_an_event_is_no_event(line: str) -> None:
    assert parse(line) is None


def test_track_yields_everything_and_ends_at_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("abc", "letters", "letters")) == ["a", "b", "c"]
    events = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"kind": "progress", "what": "letters", "unit": "letters", "done": 0, "total": 3}
    assert events[-1] == {"kind": "progress", "what": "letters", "unit": "letters", "done": 3, "total": 3}


def test_track_goes_on_from_what_is_done_and_reports_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(track(iter(range(5000)), "steps", "steps", total=6000, done=1000)) == sum(range(5000))
    events = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert len(events) < 20
    assert events[0] and events[0]["done"] == 1000
    assert events[-1] and events[-1]["done"] == events[-1]["total"] == 6000


def test_track_counts_what_items_leave_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([3, 7], "check rows", "rows", total=10, place=lambda row: row)) == [3, 7]
    events = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert [event and (event["done"], event["total"]) for event in events] == [(3, 10), (10, 10)]


def test_a_note_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    note("because\nof that")
    (line,) = capsys.readouterr().out.splitlines()
    assert parse(line) == {"kind": "note", "text": "because\nof that"}
