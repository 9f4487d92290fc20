"""What a run tells: steps, bars, errors; everything else goes into the log."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from goodsight.progress import emit, note, track
from pipelines.events import Listener


def test_the_story_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "run.log"
    with Listener(log, quiet=True) as listener, contextlib.redirect_stdout(listener):
        print("\x1b[96mchatter of a library\x1b[0m")
        emit("step", name="validate", state="started")
        assert list(track(range(3), "rows", "rows")) == [0, 1, 2]
        note("a choice and its reason")
        emit("step", name="validate", state="done", seconds=1.5, peak_rss_bytes=7)
        emit("error", name="pretrain", type="InputError", message="no", hint="try")
    assert listener.story.steps == {"validate": 1.5}
    assert listener.story.peak_rss_bytes == 7
    assert listener.story.error is not None and listener.story.error["message"] == "no"
    text = log.read_text()
    assert "chatter of a library\n" in text and "\x1b" not in text
    assert "progress" not in text
    assert capsys.readouterr().out == ""


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    with Listener(tmp_path / "run.log", quiet=True) as listener:
        listener.write('@goodsight {"kind": "step", "name": "gate", "state": "do')
        assert listener.story.steps == {}
        listener.write('ne", "seconds": 2, "peak_rss_bytes": 1}\n')
    assert listener.story.steps == {"gate": 2}


@pytest.mark.parametrize("line", ["@goodsight not json", '@goodsight {"no": "kind"}', "@goodsight []"])
def test_what_only_looks_like_an_event_is_logged(tmp_path: Path, line: str) -> None:
    with Listener(tmp_path / "run.log", quiet=True) as listener:
        listener.write(line + "\n")
    assert line in (tmp_path / "run.log").read_text()
