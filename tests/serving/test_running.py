"""Which server is ours and alive: stale records, reused process ids, servers left behind, and an end with the parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from goodsight.digests import HOUSE
from goodsight.errors import BusyError, GoodsightError
from goodsight.processes import Process
from serving import running
from serving.client import Client
from serving.running import Running
from serving.torchserve import Ports

GONE = Process(2**22 + 1, 1.0)  # beyond the largest process id of Linux
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that leads its own group and ignores SIGTERM."""
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout and process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.communicate()


def record(folder: Path, server: Process, owner: Process) -> Running:
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return Running(server, owner, 1, 2, 3, str(folder), str(scratch)).become("ready")


def test_a_live_server_is_found_and_guarded(tmp_path: Path) -> None:
    me = Process.of(os.getpid())
    written = record(tmp_path / "runtime", me, me)
    assert running.find(tmp_path / "runtime") == written
    with pytest.raises(BusyError, match=f"already running \\(process {os.getpid()}"):
        running.clear(tmp_path / "runtime")


def test_only_a_ready_server_is_found(tmp_path: Path) -> None:
    me = Process.of(os.getpid())
    record(tmp_path, me, me).become("stopping")
    assert running.find(tmp_path) is None


def test_the_record_of_a_dead_server_is_removed(tmp_path: Path) -> None:
    record(tmp_path / "runtime", GONE, GONE)
    assert running.find(tmp_path / "runtime") is None
    running.clear(tmp_path / "runtime")
    assert not list(tmp_path.rglob("*.json")) and not (tmp_path / "scratch").exists()


def test_a_process_id_that_was_used_again_is_left_alone(tmp_path: Path, child: subprocess.Popen[str]) -> None:
    older = Process(child.pid, Process.of(child.pid).created - 100)
    record(tmp_path, older, older)
    running.clear(tmp_path)
    assert child.poll() is None and running.read(tmp_path) is None


def test_a_server_left_behind_by_its_owner_is_stopped(
    tmp_path: Path, child: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PATIENCE_SECONDS", 0.3)
    record(tmp_path, Process.of(child.pid), GONE)
    running.clear(tmp_path)
    assert not psutil.pid_exists(child.pid) or psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert running.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"server": 1, "owner": 2}'])
def test_an_unreadable_record_is_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert running.find(tmp_path) is None
    running.clear(tmp_path)


def test_a_client_without_a_server_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(GoodsightError, match=r"no server at http://127\.0\.0\.1:8080(.|\n)*goodsight serve"):
        Client.connect(tmp_path)


def test_a_client_waits_for_a_server_that_starts(tmp_path: Path) -> None:
    me = Process.of(os.getpid())
    record(running.runtime(tmp_path), me, me).become("starting")
    with pytest.raises(BusyError, match="is starting"):
        Client.connect(tmp_path)


def test_a_foreign_process_on_a_port_is_named() -> None:
    free = Ports.free()
    free.check()
    with socket.create_server(("127.0.0.1", free.management)), pytest.raises(BusyError) as caught:
        free.check()
    assert f"Port {free.management} (management) is taken by process {os.getpid()} (" in caught.value.message
    assert "GOODSIGHT_MANAGEMENT_PORT" in caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process that its parent is gone")
def test_a_process_ends_with_its_parent() -> None:
    command = "[sys.executable, '-m', 'serving.end_with_parent', str(os.getpid()), sys.executable, '-c', 'import signal; signal.pause()']"
    code = f"import os, subprocess, sys; print(subprocess.Popen({command}).pid, flush=True); sys.stdin.read()"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=HOUSE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert parent.stdout
    process = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    _, alive = psutil.wait_procs([process], timeout=10)
    assert not alive


def test_a_server_of_another_container_lives_as_long_as_its_owner_holds_the_lock(tmp_path: Path) -> None:
    """Its process ids mean nothing here: they may be those of others."""
    other = replace(record(tmp_path, Process.of(os.getpid()), GONE), namespace=running.namespace() + 1).become("ready")
    assert running.find(tmp_path) is None
    lock = running.take(tmp_path / running.OWNER)
    assert running.find(tmp_path) == other
    with pytest.raises(BusyError, match="already running"):
        running.clear(tmp_path)
    os.close(lock)
    running.clear(tmp_path)
    assert running.read(tmp_path) is None, "and this process, which has its id, was left alone"


def test_a_server_stays_while_a_gateway_needs_it(tmp_path: Path) -> None:
    with running.needed(tmp_path), running.needed(tmp_path):
        before = time.monotonic()
        running.await_free(tmp_path, 0.3)
        assert time.monotonic() - before >= 0.3
    before = time.monotonic()
    running.await_free(tmp_path, 30)
    assert time.monotonic() - before < 5
