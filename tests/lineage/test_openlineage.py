"""Lineage events reach the file or a real HTTP backend, say what ran on what, and never hold a step up."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from goodsight.progress import parse
from goodsight.settings import settings
from lineage.openlineage import PATIENCE_SECONDS, Data, StepRun

RUN = "20261126T080000-7"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The client copies what it finds in the environment to other variables of its own."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("OPENLINEAGE"):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


class Backend:
    """What Marquez is to a client: takes events at `/api/v1/lineage`, and says with which key."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.status = 201
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                backend.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                backend.paths.append(self.path)
                backend.keys.append(self.headers.get("Authorization"))
                self.send_response(backend.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def backend() -> Iterator[Backend]:
    found = Backend()
    yield found
    found.server.shutdown()
    found.server.server_close()


def kept() -> list[dict[str, Any]]:
    """The events in the file under home."""
    file = settings().root / "openlineage.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def warnings(text: str) -> list[str]:
    return [event["text"] for line in text.splitlines() if (event := parse(line)) and event["kind"] == "warning"]


def run_index() -> StepRun:
    """A whole step run, as the shell makes it."""
    step = StepRun("index", RUN, "c" * 64, [Data("evaluate/candidate", "a" * 64), Data("validate/snapshot", "5" * 64)])
    step.start()
    step.complete([Data("index/index", "1" * 64)])
    return step


def test_without_configuration_events_are_lines_of_a_file_under_home() -> None:
    run_index()
    started, completed = kept()
    assert (started["eventType"], completed["eventType"]) == ("START", "COMPLETE")
    assert started["job"]["namespace"] == "goodsight" and started["job"]["name"] == "index"
    assert started["job"]["facets"]["sourceCode"]["sourceCode"] == "sha256:" + "c" * 64
    assert [(each["name"], each["facets"]["version"]["datasetVersion"]) for each in completed["inputs"]] == [
        ("evaluate/candidate", "a" * 64),
        ("validate/snapshot", "5" * 64),
    ]
    (output,) = completed["outputs"]
    assert (output["name"], output["facets"]["version"]["datasetVersion"]) == ("index/index", "1" * 64)
    assert started["eventTime"] <= completed["eventTime"]
    assert all(event["schemaURL"].startswith("https://openlineage.io/spec/2-") for event in (started, completed))


def test_ids_follow_from_the_run_so_that_its_steps_are_found() -> None:
    run_index()
    run_index()
    StepRun("gate", RUN).fail("no")
    ids = [event["run"]["runId"] for event in kept()]
    parents = {event["run"]["facets"]["parent"]["run"]["runId"] for event in kept()}
    assert len(set(ids[:4])) == 1 and ids[4] != ids[0]
    assert len(parents) == 1 and UUID(parents.pop())


def test_a_run_of_kubeflow_keeps_its_own_id_and_a_lone_step_has_no_parent() -> None:
    kubeflow = "d46e465b-d358-4d32-83d4-df660ff614dd"
    StepRun("gate", kubeflow).complete([])
    StepRun("gate").complete([])
    of_kubeflow, alone = kept()
    assert of_kubeflow["run"]["facets"]["parent"]["run"]["runId"] == kubeflow
    assert "parent" not in alone["run"]["facets"] and UUID(alone["run"]["runId"])


def test_a_failure_says_why() -> None:
    step = StepRun("gate", RUN)
    step.start()
    step.fail("below the floor")
    failed = kept()[-1]
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "below the floor"


def test_a_snapshot_tells_its_rows(tmp_path: Path) -> None:
    for name, products in (("raw", 120), ("kept", 113)):
        (tmp_path / name).mkdir()
        manifest = {"counts": {"products": products}, "files": {"products/00000.parquet": "", "queries/00000.parquet": ""}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    step = StepRun("validate", RUN, inputs=[Data("snapshot/snapshot", "a", tmp_path / "raw")])
    step.complete([Data("validate/snapshot", "b", tmp_path / "kept")])
    (event,) = kept()
    assert event["inputs"][0]["inputFacets"]["dataQualityMetrics"]["rowCount"] == 120
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 113
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["fileCount"] == 2


def test_a_backend_named_by_url_gets_them_posted(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", backend.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    run_index()
    assert [event["eventType"] for event in backend.events] == ["START", "COMPLETE"]
    assert set(backend.paths) == {"/api/v1/lineage"} and set(backend.keys) == {"Bearer secret"}
    assert kept() == []


def test_the_configuration_file_of_the_client_is_followed(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = {"type": "http", "url": backend.url, "endpoint": "openapi/openlineage/api/v1/lineage"}
    (tmp_path / "openlineage.yml").write_text(json.dumps({"transport": transport}))
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(tmp_path / "openlineage.yml"))
    run_index()
    assert set(backend.paths) == {"/openapi/openlineage/api/v1/lineage"} and len(backend.events) == 2


def test_switched_off_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    run_index()
    assert kept() == []


@pytest.mark.parametrize("accepts", [False, True], ids=["refuses", "never answers"])
def test_a_backend_that_is_down_costs_a_moment_and_loses_nothing(
    accepts: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if accepts:
            listener.listen()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}")
        began = time.monotonic()
        run_index()
        took = time.monotonic() - began
    assert took < PATIENCE_SECONDS + 3
    assert [event["eventType"] for event in kept()] == ["START", "COMPLETE"]
    (told,) = warnings(capsys.readouterr().out)
    assert "openlineage.jsonl" in told and "secret" not in told


def test_a_refusal_is_told_without_the_password(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.status = 403
    monkeypatch.setenv("OPENLINEAGE_URL", backend.url.replace("//", "//user:secret@"))
    run_index()
    (told,) = warnings(capsys.readouterr().out)
    assert "403" in told and "secret" not in told
    assert len(kept()) == 2


def test_a_file_that_cannot_be_written_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    (settings().root / "openlineage.jsonl").mkdir(parents=True)
    run_index()
    assert any("lost" in text for text in warnings(capsys.readouterr().out))
