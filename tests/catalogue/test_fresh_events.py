"""Events from a file: judged by the rules for those of a catalogue, and none is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue.fresh_events import read_events
from goodsight.errors import InputError

GOOD = {"product": "a", "kind": "view", "time": "2026-01-01T10:00:00Z", "query": "red sofa"}


def test_good_events_are_read_and_every_other_line_has_its_reason(tmp_path: Path) -> None:
    lines = [
        json.dumps(GOOD),
        "{",
        json.dumps({**GOOD, "time": None}),
        json.dumps({**GOOD, "product": ""}),
        json.dumps({**GOOD, "kind": "price", "value": "cheap"}),
        json.dumps({**GOOD, "kind": "price", "value": 9.5, "created": "2026-01-01T11:00:00Z"}),
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    events, refused = read_events(tmp_path / "events.jsonl")
    assert [(row["kind"], row["value"], row["line"]) for row in events.to_pylist()] == [("view", None, 1), ("price", 9.5, 6)]
    assert sorted((row["line"], row["labels"][0]) for row in refused) == [
        (2, "unreadable line"),
        (3, "no time"),
        (4, "no product"),
        (5, "wrong type"),
    ]
    assert all(row["reasons"][0] and row["file"] == "events.jsonl" for row in refused)


def test_a_csv_of_events_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "today.csv").write_text("product,kind,time\na,view,2026-01-01T10:00:00Z\nb,click,2026-01-01T10:00:01Z\n")
    events, refused = read_events(tmp_path / "today.csv")
    assert (events["product"].to_pylist(), refused) == (["a", "b"], [])


def test_a_file_without_a_good_event_gives_none(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("nonsense\n")
    events, refused = read_events(tmp_path / "events.jsonl")
    assert (len(events), len(refused)) == (0, 1)


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "events.txt").write_text("{}")
    with pytest.raises(InputError, match=r"events\.txt is no table file"):
        read_events(tmp_path / "events.txt")
