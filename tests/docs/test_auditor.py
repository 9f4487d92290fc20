"""The six questions of an auditor: one command each, that exists, and that a test runs as the page shows it."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from goodsight.digests import HOUSE
from pipelines.command import app
from tests.docs.blocks import served_blocks

PAGE = HOUSE / "docs" / "auditor.md"
ROWS = re.findall(r"^\| ([^|]+\?) \| `goodsight (.+?)` \|$", PAGE.read_text(), re.MULTILINE)


def test_there_are_six_questions() -> None:
    assert [question.split()[0] for question, _ in ROWS] == ["What", "Who", "Which", "Has", "What", "Which"]


@pytest.mark.parametrize("command", [command for _, command in ROWS])
def test_each_has_one_command_that_is_run_on_a_served_model(command: str) -> None:
    words = re.match(r"[a-z-]+ [a-z-]+", command)
    assert words and CliRunner().invoke(app, [*words[0].split(), "--help"]).exit_code == 0
    run = [block for block in served_blocks() if block.page == "docs/auditor.md" and f"\ngoodsight {words[0]}" in block.commands]
    assert run, f"no block of the page runs `goodsight {words[0]}`"
