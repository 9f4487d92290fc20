"""The smoke test's requests: real held-out products by each thing they have and by all of it, in what a server takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import serving.request
from catalogue.importer import import_catalogue
from components.steps.deploy import PROBES, probes
from serving.request import FIELDS, parse
from tests.pipelines.made import some_furniture


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes")
    some_furniture(folder / "shop", 40)
    import_catalogue(folder / "shop", folder / "snapshot")
    return folder / "snapshot"


def test_products_are_asked_for_by_each_thing_and_by_all_that_they_have(snapshot: Path) -> None:
    asked = {probe.name: parse(probe.request) for probe in probes(snapshot)}
    for number in range(PROBES):
        assert asked[f"categorize-text-{number}"].modalities == ("text",)
        assert asked[f"categorize-image-{number}"].modalities == asked[f"search-image-{number}"].modalities == ("image",)
        assert asked[f"search-text-{number}"].task == "search"
        assert asked[f"similar-{number}"].products == asked[f"recommend-{number}"].products != ()
    assert {request.task for request in asked.values()} == set(FIELDS) - {"explain"}  # a heat-map is many answers to one request
    whole = [asked[f"categorize-whole-{number}"].modalities for number in range(PROBES)]
    assert ("text", "image", "table", "video", "audio") in whole


def test_media_too_large_for_one_request_are_left_out(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.request, "max_media_bytes", lambda: 300)
    modalities = {name for probe in probes(snapshot) for name in parse(probe.request).modalities}
    assert modalities == {"text", "table"}
