"""The precision is what was measured: faster ones are taken only when they earn it and agree, and the choice is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from goodsight.files import read_json
from models.bundle import Bundle
from models.config import ARCHITECTURES, TASKS
from serving import precision
from serving.precision import Measured, choose, converted, measure, probes
from serving.predictor import Predictor
from tests.serving.conftest import TITLES, bundle


@pytest.fixture(scope="module")
def bundles() -> list[Bundle]:
    return [replace(bundle(task, 1), digest=task) for task in TASKS]


def face(bundle: Bundle) -> Any:
    return bundle.model.classify if bundle.task == "categorize" else bundle.model.embed


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("to", ["bf16", "int8"])
@torch.inference_mode()
def test_another_precision_answers_nearly_the_same(architecture: str, to: Any) -> None:
    usual = bundle("retrieve", 1, architecture)
    changed = converted(usual, to)
    for batch in probes(usual, TITLES):
        one, other = usual.model.embed(batch), changed.model.embed(batch)
        assert not torch.equal(one, other)
        assert torch.cosine_similarity(one, other, dim=1).min() > 0.9
    assert all(type(layer) in (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear) for layer in linear(usual))


def linear(bundle: Bundle) -> list[nn.Module]:
    return [layer for layer in bundle.model.modules() if "Linear" in type(layer).__name__]


def test_a_precision_that_is_faster_but_wrong_is_not_taken(bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "converted", lambda given, _: bundle(given.task, 2))
    monkeypatch.setattr(precision, "EARNS", -100.0)
    choice = measure(bundles, TITLES)
    assert choice.taken == "fp32"
    assert choice.measured["bf16"].cosine < 0.99 and not choice.measured["int8"].agrees()


def test_a_precision_that_earns_its_place_is_taken(bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"fp32": 10.0, "bf16": 8.9, "int8": 9.1}
    monkeypatch.setattr(precision, "_compared", lambda *_: Measured(next(times)))
    monkeypatch.setattr(precision, "_answers", lambda *_: (found["fp32"] / 2, []))
    times = iter([found["bf16"], found["int8"]])
    assert measure(bundles, TITLES).taken == "bf16"
    times = iter([found["int8"], found["int8"]])
    assert measure(bundles, TITLES).taken == "fp32"


def test_what_a_backend_lacks_is_told_and_not_taken(bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any) -> Bundle:
        raise RuntimeError("no engine for this")

    monkeypatch.setattr(precision, "converted", lacking)
    choice = measure(bundles, TITLES)
    assert choice.taken == "fp32" and choice.measured["int8"].failed == "RuntimeError: no engine for this"


def test_the_choice_is_kept_for_these_bundles(bundles: list[Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose(bundles, TITLES, tmp_path)
    [kept] = (tmp_path / "serving" / "precision").iterdir()
    assert read_json(kept)["taken"] == first.taken and set(first.measured) == {"fp32", "bf16", "int8"}
    monkeypatch.setattr(precision, "measure", lambda *_: pytest.fail("it was measured again"))
    assert choose(bundles, TITLES, tmp_path) == first
    with pytest.raises(pytest.fail.Exception):
        choose([replace(each, digest="another") for each in bundles], TITLES, tmp_path)


def test_the_predictor_answers_in_the_precision_that_was_taken(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Predictor.load(made.candidate, made.index)
    best = {**{name: Measured(10.0) for name in ("fp32", "int8")}, "bf16": Measured(1.0)}
    monkeypatch.setattr("serving.precision.measure", lambda *_: precision.Choice("bf16", best))
    tuned, taken = usual.on_this_machine(tmp_path)
    request = {"task": "search", "text": "green lamp", "k": 5}
    one, other = (each.predict(request)["results"] for each in (usual, tuned))
    assert taken == "bf16" and [row["score"] for row in one] != [row["score"] for row in other]
    assert one[0]["id"] == other[0]["id"] and one[0]["score"] == pytest.approx(other[0]["score"], abs=0.02)
