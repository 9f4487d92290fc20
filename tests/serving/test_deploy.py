"""Deployment in a running server: the switch loses no request, and what fails its smoke test never serves."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import BusyError, GoodsightError, InputError, IntegrityError, RefusedError
from lineage.signing import sign
from serving.client import Client
from serving.deploy import Probe, current, deploy, deploying, rollback, store

pytestmark = pytest.mark.torchserve


@pytest.fixture(scope="module")
def home(deployed: Path, serve: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a running server of version 1."""
    copied = shutil.copytree(deployed, tmp_path_factory.mktemp("deploy") / "home")
    assert serve(copied).first_line.startswith("Serving version 1")
    return copied


def archives(home: Path) -> list[str]:
    return sorted(path.name for path in store(home).iterdir())


def still_one(home: Path) -> None:
    """Version 1 answers and is what is recorded, and nothing is left of another."""
    assert Client.connect(home).search("red sofa")["model_version"] == "1"
    served = current(home)
    assert served and (served.version, served.previous) == ("1", None)
    assert archives(home) == ["goodsight-1"]


def test_the_first_deployment_is_recorded(deployed: Path, made: Any) -> None:
    served = current(deployed)
    assert served and (served.version, served.candidate, served.previous) == ("1", made.digest, None)
    assert served.archive == "goodsight-1" and served.deployed_at.endswith("+00:00")


def test_a_failed_probe_keeps_the_old_version(home: Path, other: Any, probes: list[Probe]) -> None:
    bad = Probe("an image that is none", {"task": "categorize", "image": "bm8gaW1hZ2U="})
    with pytest.raises(RefusedError, match="Version 2 was not deployed.*'an image that is none' failed.*are no image"):
        deploy(other.candidate, other.index, "2", [*probes, bad], home)
    still_one(home)


def test_a_candidate_that_does_not_load_keeps_the_old_version(home: Path, other: Any, probes: list[Probe], tmp_path: Path) -> None:
    shutil.copytree(other.candidate, tmp_path / "candidate")
    (tmp_path / "candidate" / "retrieve" / "weights.safetensors").write_bytes(b"not these")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors is not as it was signed"):  # before a server sees it
        deploy(tmp_path / "candidate", other.index, "2", probes, home)
    sign(tmp_path / "candidate")
    with pytest.raises(RefusedError, match=r"does not load: IntegrityError: .*weights\.safetensors"):
        deploy(tmp_path / "candidate", other.index, "2", probes, home)
    still_one(home)


def test_a_version_keeps_its_model(home: Path, other: Any, probes: list[Probe]) -> None:
    with pytest.raises(InputError, match="already deployed with other content"):
        deploy(other.candidate, other.index, "1", probes, home)
    still_one(home)


def test_no_probe_or_no_lock_is_refused(home: Path, other: Any, probes: list[Probe]) -> None:
    with pytest.raises(InputError, match="no probe"):
        deploy(other.candidate, other.index, "2", [], home)
    with deploying(home), pytest.raises(BusyError, match="already in progress"):
        deploy(other.candidate, other.index, "2", probes, home)
    with pytest.raises(InputError, match="archive of version 7 is not in"):
        rollback("7", home)
    still_one(home)


def test_the_switch_and_the_way_back_lose_no_request(home: Path, made: Any, other: Any, probes: list[Probe]) -> None:
    answered: list[str] = []
    failed: list[GoodsightError] = []
    done = threading.Event()

    def ask() -> None:
        client = Client.connect(home)
        while not done.is_set():
            try:
                answered.append(client.search("red sofa", k=1)["model_version"])
            except GoodsightError as error:
                failed.append(error)
            done.wait(0.02)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        there = deploy(other.candidate, other.index, "2", probes, home)
        assert Client.connect(home).search("sofa")["candidate"] == other.digest
        back = rollback("1", home)
    finally:
        done.set()
        for thread in asking:
            thread.join()
    assert (there.version, there.previous, there.candidate) == ("2", "1", other.digest)
    assert (back.version, back.previous, back.candidate) == ("1", "2", made.digest)
    assert Client.connect(home).search("sofa")["candidate"] == made.digest
    assert not failed and set(answered) == {"1", "2"}
    assert archives(home) == ["goodsight-1", "goodsight-2"]
