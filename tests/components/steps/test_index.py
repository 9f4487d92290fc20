"""The index of a catalogue: found by words, filters and vectors; a new version of it embeds what is new or changed alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.steps import index as step
from feature_repo.store import build_features, training_table
from goodsight.files import read_json
from goodsight.settings import settings
from serving.filters import Filters
from serving.index import Index, Wanted
from tests.feature_repo.made import product, query, snapshot_of
from tests.serving.conftest import Made, make_candidate

COLOURS = ("red", "blue", "green", "black", "white", "brown")
THINGS = ("sofa", "chair", "lamp", "shelf")


def catalogue(**changed: str) -> list[dict[str, Any]]:
    rows = [(colour, thing) for colour in COLOURS for thing in THINGS]
    return [
        product(
            f"{colour}-{thing}",
            title=changed.get(f"{colour}_{thing}", f"{colour} {thing}"),
            title_i18n={"de": f"Möbel {place}"},
            category_path=["Home", thing.capitalize()],
            attributes={"colour": colour, "number": place},
            price=10.0 + place,
        )
        for place, (colour, thing) in enumerate(rows)
    ]


def inputs(folder: Path, products: list[dict[str, Any]]) -> tuple[Path, Path, Path]:
    """Snapshot, training table and store, as the steps before leave them."""
    asked = [query(f"q{place}", each["id"], text=f"item {place} {each['title']}", split="val") for place, each in enumerate(products)]
    snapshot = snapshot_of(folder, products, asked)
    build_features(snapshot, folder / "store")
    training_table(folder / "store", folder / "table")
    return snapshot, folder / "table", folder / "store"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_candidate(tmp_path / "made", 1)


def bundle_of(made: Made) -> str:
    return str(read_json(made.candidate / "candidate.json")["bundles"]["retrieve"])


def test_an_index_goes_on_from_the_one_that_serves(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, served = inputs(tmp_path / "first", catalogue()), settings().root / "serving" / "store" / "goodsight-1" / "index"
    step.index(made.candidate, *first, served)
    index = Index.load(served, bundle_of(made))
    assert index.record["fusion"]["queries"] == 24 and index.record["count"] == 24
    (found,) = index.search(index.vectors_of(["red-sofa"]), [Wanted(9, Filters(attributes={"colour": ["Blue"]}, price={"max": 16}))])
    assert {row["id"] for row, _ in found} == {"blue-sofa", "blue-chair", "blue-lamp"}
    (found,) = index.search(index.vectors_of(["red-sofa"]), [Wanted(1, text="möbel 7", lexical=1.0)])
    assert found[0][0]["id"] == "blue-shelf"

    current = {"version": "1", "archive": "goodsight-1", "candidate": made.digest, "index": index.digest}
    (settings().root / "serving" / "current.json").write_text(json.dumps(current | {"previous": None, "deployed_at": ""}))
    asked: list[list[str]] = []
    embedded = step.embedded
    monkeypatch.setattr(step, "embedded", lambda *given: asked.append(given[-1]) or embedded(*given))
    second = inputs(tmp_path / "second", [*catalogue(red_sofa="a purple armchair")[:-2], product("new", title="yellow bench", price=1.0)])
    step.index(made.candidate, *second, tmp_path / "updated")
    assert asked == [["new", "red-sofa"]]

    updated = Index.load(tmp_path / "updated", bundle_of(made))
    (settings().root / "serving" / "current.json").unlink()
    step.index(made.candidate, *second, tmp_path / "anew")
    anew = Index.load(tmp_path / "anew", bundle_of(made))
    assert updated.ids == anew.ids and "brown-shelf" not in updated.ids and updated.snapshot == anew.snapshot != index.snapshot
    assert np.allclose(updated.vectors, anew.vectors, atol=1e-5)
    assert not np.allclose(updated.vectors_of(["red-sofa"]), index.vectors_of(["red-sofa"]), atol=1e-3)

    (settings().root / "serving" / "current.json").write_text(json.dumps(current | {"previous": None, "deployed_at": ""}))
    asked.clear()
    step.index(made.candidate, *first, tmp_path / "same")
    assert asked == [] and np.array_equal(Index.load(tmp_path / "same", bundle_of(made)).vectors, index.vectors)
