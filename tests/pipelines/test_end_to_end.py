"""The whole platform as its users meet it: one run at size tiny on damaged real data, cached again, served, asked, killed, resumed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from goodsight.digests import sha256_file
from goodsight.files import read_json
from lineage.ledger import Event, Ledger
from samples import furniture
from tests.docs.blocks import run, served_blocks, stand_in
from tests.homes import in_home
from tests.pipelines.made import GOODSIGHT, LENIENT_POLICY, command, damage, last_json, some_furniture, surroundings, write_products

pytestmark = pytest.mark.pipeline

STEPS = ["resolve", "snapshot", "validate", "features", "pretrain", "finetune categorize", "finetune retrieve", "evaluate", "gate"]
STEPS += ["register", "index", "deploy"]


def free_ports() -> dict[str, str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        names = ("PORT", "INFERENCE_PORT", "MANAGEMENT_PORT", "METRICS_PORT")
        return {f"GOODSIGHT_{name}": str(one.getsockname()[1]) for name, one in zip(names, sockets, strict=True)}


class World:
    """One catalogue with seven bad rows, one home, and the result of the first run."""

    def __init__(self, folder: Path) -> None:
        self.home, self.catalogue, self.policy = folder / "home", folder / "shop", folder / "policy.yaml"
        self.policy.write_text(LENIENT_POLICY)
        self.ports = free_ports()
        self.records = some_furniture(self.catalogue, 120)
        damage(self.catalogue, self.records)
        self.result = self.run()

    def arguments(self) -> list[str]:
        return ["run", "--catalogue", str(self.catalogue), "--size", "tiny", "--policy", str(self.policy), "--json"]

    def run(self, *more: str) -> dict:
        return last_json(command(*self.arguments(), *more, home=self.home, **self.ports))

    def events(self) -> list[Event]:
        return Ledger(f"sqlite:///{self.home / 'ledger.db'}").events()

    def newest_run(self) -> dict:
        return [event.payload for event in self.events() if event.kind == "run"][-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_the_run_goes_from_catalogue_to_served_version(world: World) -> None:
    result = world.result
    assert result["data_verdict"] == "passed"
    assert result["verdict"] == "promote"
    assert result["model_version"] == "1"
    assert sorted(step["name"] for step in result["steps"]) == sorted(STEPS)
    assert not any(step["cached"] for step in result["steps"])
    assert 0 <= result["metrics"]["leaf_accuracy"] <= 1
    assert {"query_to_product_map", "image_to_product_recall@10", "image_to_text_recall@1"} <= result["metrics"].keys()
    assert result["baselines"]["query_to_product_recall@1_tfidf"] > 0
    assert result["peak_rss_bytes"] > 2**27


def test_what_the_run_did_is_in_the_ledger_under_its_digests(world: World) -> None:
    kinds = ["snapshot", "validation", "verdict", "registration", "deploy", "alias_move", "run"]
    assert [event.kind for event in world.events()] == kinds
    snapshot, validation, verdict, registration, deploy, move, run = world.events()
    raw, clean = snapshot.payload["digest"], world.result["snapshot"]
    candidate, judged = world.result["candidate"], Path(world.result["paths"]["verdict"])
    assert (snapshot.subjects, validation.subjects) == ([raw], [raw, clean])
    assert validation.payload["quarantined"] == 7
    assert {sha256_file(judged), read_json(judged)["policy"], candidate, clean} < set(verdict.subjects)
    assert registration.subjects == [candidate, clean, sha256_file(judged)] and registration.payload["version"] == "1"
    index = read_json(world.home / "serving" / "current.json")["index"]
    assert deploy.subjects == [candidate, index] and "categorize-text-0" in deploy.payload["smoke_test"]
    assert move.subjects == [candidate] and (move.payload["version"], move.payload["previous"]) == ("1", None)
    assert run.subjects == [clean, candidate] and {event.actor for event in world.events()} == {"pipeline"}
    told = run.payload
    assert (told["state"], told["cause"], told["revision"]) == ("SUCCEEDED", "", world.result["revision"])
    assert (told["data_verdict"], told["verdict"], told["version"], told["cached"]) == ("passed", "promote", "1", [])
    assert told["steps"].keys() >= set(STEPS) and 0 < sum(told["steps"].values()) <= told["seconds"]


def test_what_every_step_took_is_known_live_and_afterwards(world: World) -> None:
    shown = last_json(command("runs", "show", "last", "--json", home=world.home))
    assert (shown["run_id"], shown["state"], shown["version"], shown["asked"]["size"]) == (world.result["run_id"], "SUCCEEDED", "1", "tiny")
    steps = {step["name"]: step for step in shown["steps"]}
    assert [*steps] == [*STEPS, "finish"]
    for step in steps.values():
        assert step["cpu_seconds"] > 0 and step["peak_rss_bytes"] > 2**24 and step["gpu_seconds"] == 0 and step["started"]
        assert 0 < step["energy_kwh"] < 0.1 and step["cost"] > 0
    assert steps["pretrain"]["cpu_seconds"] > steps["resolve"]["cpu_seconds"]
    assert shown["cost"] == pytest.approx(sum(step["cost"] for step in steps.values())) == pytest.approx(world.result["cost"]["money"])
    cost = last_json(command("audit", "cost", "1", "--json", home=world.home))
    assert (cost["run_id"], cost["cost"], cost["gain"]) == (shown["run_id"], pytest.approx(shown["cost"]), None)
    economy = last_json(command("audit", "cost", "--json", home=world.home))
    assert (economy["runs"], economy["promoted"]) == (1, 1) and economy["answers"] > 0
    assert economy["per_1000_answers"] > 1000 * shown["cost"] / economy["answers"]
    state = read_json(world.home / "runs" / shown["run_id"] / "state.json")
    assert state["state"] == "SUCCEEDED" and "pretrain" in command("runs", "logs", home=world.home).stdout


def test_every_step_left_its_lineage_and_what_it_read_was_made_before(world: World) -> None:
    events = [json.loads(line) for line in (world.home / "openlineage.jsonl").read_text().splitlines()]
    run = events[0]["run"]["facets"]["parent"]["run"]["runId"]
    first = [event for event in events if event["run"]["facets"]["parent"]["run"]["runId"] == run]
    for step in (*STEPS, "finish"):
        assert [event["eventType"] for event in first if event["job"]["name"] == step] == ["START", "COMPLETE"], step
    made = {"revision", "version"}  # kept elsewhere: the catalogue's, the registry's
    for event in first:
        assert {data["name"] for data in event["inputs"]} <= made, event["job"]["name"]
        made |= {data["name"] for data in event["outputs"]}


def test_seven_bad_rows_are_in_quarantine_with_readable_reasons(world: World) -> None:
    rows = pq.read_table(world.result["paths"]["quarantine"]).to_pylist()
    assert world.result["quarantined"] == len(rows) == 7
    told = {row["id"] or "unreadable": " ".join(row["reasons"]) for row in rows}
    expected = {
        "bad-jpeg": "truncated",
        world.records[0]["id"]: "line 1",
        "bad-title": "title",
        "bad-category": "Spacecraft",
        "bad-size": "10000 x 10000",
        "bad-price": "price",
    }
    for name, words in expected.items():
        assert words in told[name], told
    assert Path(world.result["paths"]["data_docs"]).is_file()


def test_the_same_again_is_all_cache_hits_and_no_new_version(world: World) -> None:
    again = world.run()
    assert sorted(step["name"] for step in again["steps"]) == sorted(STEPS)
    assert all(step["cached"] for step in again["steps"])
    assert again["model_version"] == "1"
    assert again["metrics"] == world.result["metrics"]
    told = world.newest_run()
    assert (told["run_id"], told["verdict"], told["version"]) == (again["run_id"], "promote", "1")
    assert sorted(told["cached"]) == sorted(STEPS)
    assert [event.kind for event in world.events()][7:] == ["run"]
    why = last_json(command("runs", "why-cached", again["run_id"], "pretrain", "--json", home=world.home))
    assert why[0]["compared"] == world.result["run_id"] and "seed 17" in why[0]["same"]
    assert "came from the cache" in command("runs", "why-run", "last", "pretrain", home=world.home).stderr


def test_a_cached_output_that_was_altered_is_made_again(world: World) -> None:
    plots = Path(world.result["paths"]["plots"])
    (plots / "retrieval.png").write_bytes(b"not a picture")
    again = world.run()
    cached = {step["name"]: step["cached"] for step in again["steps"]}
    assert not cached["evaluate"]
    assert cached["pretrain"]
    why = {each["step"]: each["sentence"] for each in last_json(command("runs", "why-run", "last", "--json", home=world.home))}
    assert "no longer what it was: plots changed" in why["evaluate"] and "pretrain" not in why
    assert again["model_version"] == "1"


@contextlib.contextmanager
def served(world: World) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*GOODSIGHT, "serve"], env=surroundings(world.home, **world.ports), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Serving version 1"), first
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_served_answers_have_titles_scores_and_the_version(world: World) -> None:
    photo = str(furniture() / world.records[0]["images"][0])
    with served(world):
        found = last_json(command("search", "red sofa", "-k", "3", "--json", home=world.home, **world.ports))
        named = last_json(command("categorize", photo, "--json", home=world.home, **world.ports))
        shown = command("search", "red sofa", home=world.home, **world.ports)
        refused = command("categorize", str(world.catalogue / "images" / "truncated.jpg"), home=world.home, **world.ports)
    assert found["model_version"] == named["model_version"] == "1"
    assert len(found["results"]) == 3 and all(row["title"] and row["score"] <= 1.001 for row in found["results"])
    assert abs(sum(row["probability"] for row in named["results"]) - 1) < 0.5
    assert "Model version 1" in shown.stdout
    assert refused.returncode == 2 and "error:" in refused.stderr and "Traceback" not in refused.stderr
    stopped = command("search", "red sofa", home=world.home, **world.ports)
    assert stopped.returncode == 1 and "goodsight serve" in stopped.stderr


def test_the_commands_of_the_documents_work_on_a_served_model(world: World, tmp_path: Path) -> None:
    clone = stand_in(tmp_path / "goodsight", world.home)
    with served(world):
        told = {f"{block.page}:{block.line}": run(block, clone, **world.ports) for block in served_blocks()}
    assert told
    failed = {place: done.stdout + done.stderr for place, done in told.items() if done.returncode}
    assert not failed


def test_too_many_bad_rows_stop_the_run_before_training(world: World, tmp_path: Path) -> None:
    records = some_furniture(tmp_path / "bad", 60)
    for record in records[: int(len(records) * 0.6)]:
        record["title"] = ""
    write_products(tmp_path / "bad", records)
    done = command("run", "--catalogue", str(tmp_path / "bad"), "--size", "tiny", "--json", home=world.home, **world.ports)
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 3
    assert result["data_verdict"] == "failed" and result["model_version"] is None
    assert [step["name"] for step in result["steps"]] == ["resolve", "snapshot", "validate"]
    assert "36 of 60" in done.stderr and "Traceback" not in done.stderr
    told = world.newest_run()
    assert (told["state"], told["data_verdict"], told["verdict"], told["version"]) == ("SUCCEEDED", "failed", None, None)


def test_a_killed_run_of_another_architecture_goes_on_from_its_checkpoint_and_takes_over(world: World) -> None:
    """SCALE's. That a training which goes on comes to the same bits is tested beside it (tests/models/test_checkpoints.py)."""
    shutil.rmtree(world.home / "checkpoints")
    asked = [*GOODSIGHT, *world.arguments(), "--architecture", "scale"]
    environment = surroundings(world.home, **world.ports)
    process = subprocess.Popen(asked, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for_checkpoint(world.home)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [child for child in alive if "executor_main" in " ".join(child.cmdline())], "the killed run left a step behind"
    lost = last_json(command("runs", "list", "--state", "lost", "--json", home=world.home))
    assert [(run["pid"], run["steps"][-1]["name"]) for run in lost] == [(process.pid, "pretrain")]
    resumed = last_json(command("runs", "resume", lost[0]["run_id"], "--json", home=world.home, **world.ports))
    assert resumed["run_id"] == lost[0]["run_id"] == world.newest_run()["run_id"]
    log = (world.home / "runs" / resumed["run_id"] / "run.log").read_text()
    assert "going on from the checkpoint after step" in log
    _took_over(resumed, "scale", "2")


def _took_over(result: dict, architecture: str, version: str) -> None:
    assert (result["architecture"], result["verdict"], result["model_version"]) == (architecture, "promote", version)
    cached = {step["name"] for step in result["steps"] if step["cached"]}
    assert cached - {"resolve"} == {"snapshot", "validate", "features"}  # a run that goes on knows its version and champion


@retry(retry=retry_if_result(lambda found: not found), stop=stop_after_delay(300), wait=wait_fixed(0.02))
def _wait_for_checkpoint(home: Path) -> bool:
    return any((home / "checkpoints").glob("pretrain-*/step-???????"))  # one that is being written has a suffix


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--catalogue", "no/such/folder"], "no/such/folder"),
        (["run", "--architecture", "gpt"], "commercemm"),
        (["run", "--size", "huge"], "tiny, small"),
        (["run", "--architecture", "scale", "--size", "base"], "Choose the size small"),
        (["catalogue", "show", "nothing-1"], "catalogue list"),
        (["search", " "], "Give a text"),
        (["models", "show", "7"], "no version '7'"),
        (["models", "rollback", "--reason", "worse"], "no previous champion"),
        (["models", "promote", "7", "--reason", " "], "--reason"),
        (["models", "who-was-champion", "--at", "yesterday"], "2026-05-01"),
    ],
)
def test_bad_arguments_get_one_clear_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = command(*arguments, home=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_third_architecture_takes_over_and_serves_both_tasks(world: World) -> None:
    """Each is compared with the champion of another architecture; the smoke test asks for both tasks with all that a product has.

    InterBERT goes the whole way in containers (tests/k8s/test_images.py).
    """
    _took_over(world.run("--architecture", "eclip"), "eclip", "3")


def test_a_person_takes_the_last_version_back(world: World) -> None:
    reason = ("--reason", "worse on lamps", "--by", "Ada", "--json")
    back = last_json(command("models", "rollback", *reason, home=world.home, **world.ports))
    assert (back["version"], back["previous"]) == ("2", "3")
    switched, moved = world.events()[-2:]
    assert [event.kind for event in (switched, moved)] == ["rollback", "alias_move"]
    assert [event.actor for event in (switched, moved)] == ["Ada", "Ada"] and moved.payload["reason"] == "worse on lamps"
    models = {model["version"]: model for model in last_json(command("models", "list", "--json", home=world.home))}
    assert models["2"]["served"] and models["2"]["aliases"] == ["champion"] and models["3"]["aliases"] == ["candidate", "previous"]
    shown = last_json(command("models", "show", "2", "--json", home=world.home))
    assert [event["kind"] for event in shown["events"]][-2:] == ["rollback", "alias_move"]
    assert shown["provenance"]["retrieve"]["recipe"] and shown["baselines"]


def test_the_champion_categorizes_a_whole_catalogue_into_one_file(world: World, tmp_path: Path) -> None:
    out = tmp_path / "categories.parquet"
    asked = ("categorize", "--input", str(world.catalogue), "--output", str(out), "-k", "2", "--json")
    done = last_json(command(*asked, home=world.home, **world.ports))
    rows = pq.read_table(out).to_pylist()
    assert done["products"] == len(rows) > 100
    assert all(row["category"] or row["problem"] for row in rows)
    told = [event.payload for event in world.events() if event.kind == "bulk"][-1]
    assert (told["sha256"], told["version"], told["snapshot"]) == (sha256_file(out), done["version"], done["snapshot"])


@pytest.mark.filterwarnings("ignore:Task .* settings:UserWarning")  # what pods get means nothing here
def test_the_bulk_pipeline_makes_the_same_file_in_parallel_parts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp import local

    from pipelines.bulk import bulk

    out = tmp_path / "vectors.parquet"
    done = last_json(command("embed", "--input", str(world.catalogue), "-o", str(out), "--json", home=world.home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with in_home(world.home):
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "pipeline"), enable_caching=False)
        bulk(task="embed", revision=done["revision"], version=done["version"], k=1, rows=60)
    made = [event.payload for event in world.events() if event.kind == "bulk"][-1]
    assert made["products"] == done["products"]
    (joined,) = (file for file in tmp_path.rglob("answers") if sha256_file(file) == made["sha256"])
    for name in ("id", "modalities", "problem"):
        assert pq.read_table(joined)[name].to_pylist() == pq.read_table(out)[name].to_pylist()
    pairs = zip(pq.read_table(joined)["vector"].to_pylist(), pq.read_table(out)["vector"].to_pylist(), strict=True)
    assert all(one == pytest.approx(two, abs=1e-5) for one, two in pairs)
