"""`goodsight audit show`, `uses`, `bundle`, `verifier` and `cost` as an auditor meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from goodsight.errors import EXIT_BAD_INPUT, EXIT_REFUSED, GoodsightError
from goodsight.settings import settings
from lineage import keys
from lineage.predictions import PredictionLog
from pipelines.command import app
from tests.lineage.audited import Audited, answer, flip


def audit(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments])


def told(*arguments: str) -> Any:
    return json.loads(audit(*arguments, "--json").stdout.splitlines()[-1])


def test_an_answer_is_shown_as_a_tree_with_its_counts(audited: Audited) -> None:
    done = audit("show", audited.prediction)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"\N{BULLET} prediction {audited.prediction}")
    assert lines[-1].startswith("20 links: 16 verified, 4 recorded.")
    assert any("kept as" in line and audited.revision in line for line in lines)
    assert all(len(line) < 300 for line in lines)


def test_json_has_the_whole_graph(audited: Audited) -> None:
    made = told("show", "champion")
    nodes = {node["id"]: node for node in made["nodes"]}
    assert made["root"] == "model:1" and {edge[end] for edge in made["edges"] for end in ("source", "target")} == set(nodes)
    assert nodes[f"candidate:{audited.candidate}"]["facts"]["files"]


def test_what_is_altered_ends_with_its_own_status(audited: Audited, tmp_path: Path) -> None:
    flip(audited.registered / "card.md")
    for arguments in (["show", "1"], ["show", "1", "--html", str(tmp_path / "page.html")], ["bundle", "1", "-o", str(tmp_path / "a.tar")]):
        error = audit(*arguments).exception
        assert isinstance(error, GoodsightError) and error.exit_code == EXIT_REFUSED and "card.md" in error.message
    assert (tmp_path / "page.html").is_file() and (tmp_path / "a.tar").is_file(), "evidence of an alteration is evidence"


@pytest.mark.parametrize("arguments", [["show", "nothing"], ["uses", "nothing"], ["cost", "nothing"], ["bundle", "7", "-o", "a.tar"]])
def test_an_unknown_name_is_bad_input(audited: Audited, arguments: list[str]) -> None:
    error = audit(*arguments).exception
    assert isinstance(error, GoodsightError) and error.exit_code == EXIT_BAD_INPUT and error.hint


def test_what_an_id_holds_does_not_reach_the_terminal(audited: Audited) -> None:
    log, row = PredictionLog(settings().predictions_url), answer(audited, results=[("\x1b[2J\x07[red]", 0.5)])
    log.log(row)
    assert log.flush()
    shown = audit("show", row.id).stdout
    assert "\x1b" not in shown and "\x07" not in shown and "[red]" in shown
    assert "\x1b" not in audit("uses", "\x1b[2J\x07[red]").stdout


def test_uses_are_told_as_tables_and_as_json(audited: Audited) -> None:
    shown = audit("uses", "sofa-1").stdout
    assert "Answers that showed it: 1" in shown and audited.prediction[:8] in shown
    assert told("uses", audited.revision)["models"][0]["version"] == "1"


def test_a_bundle_is_checked_by_the_program_that_the_command_writes(audited: Audited, tmp_path: Path) -> None:
    done = audit("bundle", audited.prediction, "--output", str(tmp_path / "audit.tar"))
    assert done.exit_code == 0 and keys.current() in done.stdout
    assert audit("verifier", "--output", str(tmp_path / "verify.py")).exit_code == 0
    command = [sys.executable, "-I", str(tmp_path / "verify.py"), str(tmp_path / "audit.tar"), "--key", keys.current()]
    assert "The bundle is whole." in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_what_it_cost(audited: Audited) -> None:
    assert "14.0 s" in audit("cost", "champion").stdout and told("cost", "run-1")["steps"] == {"pretrain": 12.5, "gate": 0.5}
