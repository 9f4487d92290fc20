"""Which models, indexes and answers depend on a snapshot or know a product."""

from __future__ import annotations

import shutil

import pytest

from catalogue.trace import versions
from goodsight.errors import InputError
from lineage.costs import cost_of
from lineage.predictions import PredictionLog
from pipelines import passport_command
from pipelines.passport_command import uses_of
from tests.lineage.audited import VALIDATED, Audited, answer


@pytest.mark.parametrize("name", ["revision", "raw", "validated"])
def test_what_was_made_of_a_snapshot(audited: Audited, name: str) -> None:
    wanted = {"revision": audited.revision, "raw": audited.raw[:12], "validated": VALIDATED}[name]
    found = uses_of(wanted, audited.home)
    assert [(model["version"], model["candidate"]) for model in found["models"]] == [("1", audited.candidate)]
    assert found["indexes"] == [{"version": "1", "index": audited.index}]
    [answers] = found["answers"]
    assert (answers["model_version"], answers["count"]) == ("1", 3)


def test_what_was_made_of_a_shard(audited: Audited) -> None:
    [version] = versions(audited.home, audited.revision)
    found = uses_of(version.manifest["files"]["products/00000.parquet"], audited.home)
    assert [each["revision"] for each in found["versions"]] == [audited.revision]
    assert [model["version"] for model in found["models"]] == ["1"] and found["answers"][0]["count"] == 3


def test_of_a_snapshot_that_nothing_was_made_of(audited: Audited) -> None:
    [other] = [version for version in versions(audited.home) if version.revision != audited.revision]
    found = uses_of(other.digest, audited.home)
    assert (found["snapshot"], found["models"], found["indexes"], found["answers"]) == (other.digest, [], [], [])


def test_what_knows_a_product(audited: Audited) -> None:
    sofa = uses_of("sofa-1", audited.home)
    assert len(sofa["versions"]) == 2 and [model["version"] for model in sofa["models"]] == ["1"]
    assert sofa["shown"]["count"] == 1 and sofa["shown"]["newest"][0]["id"] == audited.prediction
    rare = uses_of("sofa-7", audited.home)
    assert [each["revision"] for each in rare["versions"]] == [audited.revision] and rare["shown"]["count"] == 0
    shown_alone = uses_of("sofa-<2>", audited.home)
    assert (shown_alone["versions"], shown_alone["models"], shown_alone["shown"]["count"]) == ([], [], 1)
    with pytest.raises(InputError, match="knows 'sofa-99'"):
        uses_of("sofa-99", audited.home)


def test_what_nobody_can_say_is_said(audited: Audited) -> None:
    shutil.rmtree(audited.home / "data" / ".dvc" / "cache")
    log = PredictionLog(passport_command.sources(audited.home).predictions, capacity=1)
    log._lose([answer(audited)] * 5)
    assert log.flush()
    found = uses_of("sofa-1", audited.home)
    assert len(found["elsewhere"]) == 2 and found["versions"] == [] and found["gaps"][0]["count"] == 5


@pytest.mark.parametrize("wanted", ["run-1", "1", "champion"])
def test_what_a_run_or_a_model_cost(audited: Audited, wanted: str) -> None:
    found = cost_of(wanted, passport_command.sources(audited.home))
    assert (found["seconds"], found["steps"], found["state"]) == (14.0, {"pretrain": 12.5, "gate": 0.5}, "SUCCEEDED")


def test_an_unknown_run_costs_nothing_that_is_known(audited: Audited) -> None:
    for wanted in ("run-2", audited.revision, audited.prediction):
        with pytest.raises(InputError):
            cost_of(wanted, passport_command.sources(audited.home))
