"""Why a step came from the cache or ran, told from what real caches kept of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kfp import dsl

from goodsight.digests import sha256_folder
from goodsight.errors import InputError
from goodsight.files import write_json
from goodsight.settings import RUN_ID
from lineage.runs import Run, Step, folder
from pipelines.cache import VerifiedCache
from pipelines.reasons import ASKED, why, why_each

RUNS = [Run(f"run-{n}", "SUCCEEDED", f"2026-05-0{n}T00:00:00+00:00", steps=[Step("pretrain", seconds=12.0)]) for n in (1, 2, 3)]
ONE, TWO, THREE = RUNS


def artifact(place: Path, text: str, maker: str) -> dsl.Dataset:
    place.mkdir(parents=True, exist_ok=True)
    (place / "table.txt").write_text(text)
    made = dsl.Dataset(name="data", uri=str(place))
    made.metadata |= {"digest": sha256_folder(place), "dataset": maker}
    return made


class Home:
    """Runs of two steps, one of which reads what the other makes."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, monkeypatch

    def run(self, run: Run, table: str, seed: int = 17, code: str = "c1", finishes: bool = True) -> None:
        self.patch.setenv(RUN_ID, run.run_id)
        cache = VerifiedCache(str(self.root / "cache"), folder(self.root, run.run_id) / ASKED)
        made = {"table": artifact(self.root / "features" / table, table, "features/table")}
        self._step(cache, "features", {"snapshot": table}, made)
        asked = {"table": made["table"], "seed": seed, "code": code, "policy": "x" * 500}
        if finishes:
            self._step(cache, "pretrain", asked, {}, self.root / "bundle" / f"{table}{seed}{code}")
        else:
            cache.get(cache.compute_key("comp-pretrain-component", "image", ["python"], asked))

    def _step(
        self, cache: VerifiedCache, name: str, asked: dict[str, object], made: dict[str, dsl.Dataset], bundle: Path | None = None
    ) -> None:
        key = cache.compute_key(f"comp-{name}-component", "image", ["python"], asked)
        if cache.get(key) is None:
            cache.put(key, {"bundle": artifact(bundle, "weights", f"{name}/bundle")} if bundle else made)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(tmp_path, monkeypatch)


def test_a_hit_is_told_by_who_made_it_and_what_is_the_same(home: Home) -> None:
    home.run(ONE, "a")
    home.run(TWO, "a")
    reason = why(home.root, TWO, "pretrain", RUNS)
    assert reason.cached and reason.compared == "run-1"
    assert "the run run-1 made it at 20" in reason.sentence and "in 12.0 s" in reason.sentence
    assert "seed 17" in reason.same and any(line.startswith("policy ") and len(line) < 30 for line in reason.same)


def test_the_first_of_all_has_nothing_to_be_like(home: Home) -> None:
    home.run(ONE, "a")
    assert why(home.root, ONE, "pretrain", RUNS).sentence == "No run before in this home came to this step."


def test_what_differs_is_told_from_the_nearest_run_before(home: Home) -> None:
    home.run(ONE, "a", seed=17)
    home.run(TWO, "b", seed=18, code="c2")
    home.run(THREE, "a", seed=18)
    reason = why(home.root, THREE, "pretrain", RUNS)
    assert not reason.cached and reason.compared == "run-1" and reason.differences == ["seed: 17 → 18"]


def test_another_input_is_told_by_the_step_that_made_it_anew(home: Home) -> None:
    home.run(ONE, "a")
    home.run(TWO, "b")
    table, step = why(home.root, TWO, "pretrain", RUNS), why(home.root, TWO, "features", RUNS)
    (told,) = table.differences
    assert told.startswith("input table: ") and told.endswith("because features ran")
    assert step.differences == ["snapshot: a → b"]
    assert [reason.step for reason in why_each(home.root, TWO, RUNS)] == ["features", "pretrain"]


def test_other_code_is_told_by_the_files_that_changed(home: Home) -> None:
    write_json(home.root / "cache" / "code" / "c1.json", {"models/loss.py": "1", "models/data.py": "1", "gone.py": "1"})
    write_json(home.root / "cache" / "code" / "c2.json", {"models/loss.py": "2", "models/data.py": "1"})
    home.run(ONE, "a")
    home.run(TWO, "a", code="c2")
    home.run(THREE, "a", code="c3")
    assert why(home.root, TWO, "pretrain", RUNS).differences == ["code: gone.py, models/loss.py changed"]
    assert why(home.root, THREE, "pretrain", RUNS).differences == ["code: c2 → c3"]  # of equally near ones the newest


def test_what_was_altered_removed_or_never_finished_is_told_so(home: Home) -> None:
    home.run(ONE, "a")
    (home.root / "bundle" / "a17c1" / "table.txt").write_text("other weights")
    home.run(TWO, "a")
    assert "What the run run-1 made is no longer what it was: bundle changed since" in why(home.root, TWO, "pretrain", RUNS).sentence
    for entry in (home.root / "cache").glob("*.json"):
        entry.unlink()
    home.run(THREE, "a")
    assert "but the entry is no longer in the cache" in why(home.root, THREE, "pretrain", RUNS).sentence


def test_a_step_that_failed_before_is_no_mystery(home: Home) -> None:
    failed = replace(ONE, state="FAILED", steps=[Step("pretrain", "FAILED")])
    home.run(failed, "a", finishes=False)
    home.run(TWO, "a")
    assert why(home.root, TWO, "pretrain", [failed, TWO]).sentence == "The run run-1 asked the same and did not finish it."


def test_a_step_that_was_not_reached_says_who_stopped_it(home: Home) -> None:
    home.run(ONE, "a")
    with pytest.raises(InputError, match="did not come to a step 'deploy': the gate rejected the candidate"):
        why(home.root, replace(ONE, verdict="reject"), "deploy", RUNS)
    with pytest.raises(InputError, match="has no step 'paint'") as told:
        why(home.root, ONE, "paint", RUNS)
    assert "features, pretrain" in told.value.hint
    with pytest.raises(InputError, match="Nothing is kept"):
        why(home.root, TWO, "pretrain", RUNS)
    with pytest.raises(InputError, match="never cached"):
        why(home.root, ONE, "finish", RUNS)
