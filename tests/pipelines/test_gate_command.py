"""`goodsight gate`: what a run's verdict says, overriding a check of it, and the page in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from goodsight.files import write_json
from goodsight.settings import settings
from lineage.gate import decide
from lineage.ledger import Ledger
from lineage.overrides import Override
from pipelines.command import app
from pipelines.local import Wanted, _arguments
from tests.browser import READABLE, WIDTHS, Opened
from tests.lineage.evaluations import evaluation, hits, policy

HOSTILE = "<script>alert(1)</script>"
RULES = policy(
    slices=[{"metrics": ["leaf_accuracy"], "within": ["source=*"], "margin": 0.1, "min_items": 50}],
    leaf_accuracy={"floor": 0.95, "margin": 0.05},
    macro_f1={"required": False, "floor": 0.9},
)
Ran = Callable[..., dict[str, Any]]


def called(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["gate", *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def ran(_home: Path, tmp_path: Path) -> Ran:
    """Leaves a judged run in home, as `goodsight run` does; returns its verdict."""

    def run(name: str, right: int = 80) -> dict[str, Any]:
        slices = {item: [f"source={HOSTILE}"] for item in hits(100, 0)}
        candidate = evaluation(tmp_path / name, {"leaf_accuracy": hits(right, 100 - right)}, slices=slices, metrics={"macro_f1": 0.5})
        champion = evaluation(tmp_path / f"{name}-champion", {"leaf_accuracy": hits(90, 10)})
        verdict = decide(candidate, champion, RULES, [Override("macro_f1/floor", "", HOSTILE, "ada", "2027-01-31")])
        write_json(tmp_path / f"{name}.json", verdict)
        result = {"run_id": name, "steps": [], "paths": {"verdict": str(tmp_path / f"{name}.json")}}
        write_json(_home / "runs" / name / "result.json", result)
        return verdict

    return run


def test_the_newest_run_that_was_judged_is_explained(ran: Ran, _home: Path) -> None:
    ran("20270101T000000-1")
    verdict = ran("20270102T000000-1")
    write_json(_home / "runs" / "20270103T000000-1" / "result.json", {"run_id": "20270103T000000-1", "paths": {}})
    text = called("explain")
    assert text.startswith("Run 20270102T000000-1. The candidate 20270102T000 may not serve")
    assert "leaf_accuracy/floor: 80.0 %; the floor is 95.0 %." in text
    assert called("explain", "20270101T000000-1").startswith("Run 20270101T000000-1.")
    assert json.loads(called("explain", "--json")) == json.loads(json.dumps(verdict))


@pytest.mark.parametrize("run", ["", "20270103T000000-1"])
def test_a_run_without_a_verdict_says_so(_home: Path, run: str) -> None:
    write_json(_home / "runs" / "20270103T000000-1" / "result.json", {"run_id": "20270103T000000-1", "paths": {}})
    found = CliRunner().invoke(app, ["gate", "explain", *([run] if run else [])])
    assert found.exit_code != 0
    assert "the gate" in str(found.exception)


def test_an_override_is_recorded_listed_and_changes_what_the_next_run_asks_for(ran: Ran) -> None:
    verdict = ran("one")
    wanted = Wanted(None, "", revision="shop-1")
    before = _arguments(wanted, "shop-1", settings().root)
    said = ("--check", "leaf_accuracy/floor", "--reason", "dark photos", "--until", "2999-01-31", "--by", "ada")
    told = called("override", "--run", "one", *said)
    assert "Ledger event 1: leaf_accuracy/floor is overridden for candidate oneoneoneone until 2999-01-31, by ada." in told
    (event,) = Ledger(settings().ledger_url).events("override")
    assert event.subjects == [verdict["candidate"]["digest"]]
    after = _arguments(wanted, "shop-1", settings().root)
    assert before["overrides"] == "" != after["overrides"]
    assert {**after, "overrides": ""} == before
    (listed,) = json.loads(called("overrides", "--json"))
    assert (listed["check"], listed["by"], listed["reason"], listed["in_force"]) == ("leaf_accuracy/floor", "ada", "dark photos", True)
    assert "dark photos" in called("overrides")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "one", "--check", "leaf_accuracy/flor"], "no failed check"),
        (["--run", "one", "--check", "leaf_accuracy/measured"], "no failed check"),
        (["--check", "leaf_accuracy/floor"], "one candidate or for every one"),
        (["--run", "one", "--every-candidate", "--check", "leaf_accuracy/floor"], "one candidate or for every one"),
        (["--every-candidate", "--check", "leaf_accuracy/floor", "--until", "2020-01-31"], "is over"),
        (["--every-candidate", "--check", "leaf_accuracy/floor", "--reason", " "], "needs --reason"),
    ],
)
def test_an_override_that_says_too_little_is_refused(ran: Ran, arguments: list[str], words: str) -> None:
    ran("one")
    found = CliRunner().invoke(app, ["gate", "override", "--reason", "why", "--until", "2999-01-31", *arguments])
    assert found.exit_code != 0 and words in str(found.exception)
    assert Ledger(settings().ledger_url).events("override") == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "verdict.html"


@pytest.mark.browser
@pytest.mark.parametrize("screen", WIDTHS)
def test_the_page_tells_the_verdict_and_calls_nobody(ran: Ran, page: Path, opened: Opened, screen: str) -> None:
    verdict = ran("one")
    called("explain", "--html", str(page))
    found = opened(page, screen)
    assert found.errors == [] and found.dialogs == []
    assert [request.url for request in found.requests if not request.url.startswith("data:")] == [page.as_uri()]
    assert found.texts("h1") == ["Run one: rejected"]
    assert len(found.texts("article")) == 1 + len(verdict["checks"])
    assert found.texts("h2")[:2] == ["Candidate against champion", "Figures beside what was asked"]
    pictures = found.run("[...document.images].map(each => [each.naturalWidth > 100, each.complete, each.alt.length > 20])")
    assert pictures == [[True, True, True]] * 2
    assert found.run("document.scrollingElement.scrollWidth") <= WIDTHS[screen]
    assert HOSTILE in found.page.locator("body").inner_text()
    assert found.run("document.querySelectorAll('script').length") == 0
    texts = found.run(READABLE, None)
    assert len(texts) > 10 and [text for contrast, text in texts if contrast < 4.5] == []
    assert any(re.search("overridden by ada", text, re.IGNORECASE) for text in found.texts("article"))
