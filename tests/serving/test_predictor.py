"""The predictor answers from any modality, alone or in a batch, and refuses parts that do not belong together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import IntegrityError
from goodsight.files import read_json, write_json
from serving.predictor import Predictor
from serving.request import parse


@pytest.fixture(scope="module")
def predictor(made: Any) -> Predictor:
    return Predictor.load(made.candidate, made.index, "7")


def test_the_answer_says_what_made_it(predictor: Predictor, made: Any) -> None:
    answer = predictor.predict({"task": "search", "text": "red sofa", "k": 3})
    assert {name: answer[name] for name in ("task", "model_version", "candidate")} == {
        "task": "search",
        "model_version": "7",
        "candidate": made.digest,
    }
    assert answer["index"] == read_json(made.index / "index.json")["digest"]
    assert [sorted(row) for row in answer["results"]] == [["category", "id", "price", "score", "title"]] * 3


def test_a_title_finds_its_product(predictor: Predictor) -> None:
    best = predictor.predict({"task": "search", "text": "green lamp"})["results"][0]
    assert best["title"] == "green lamp"
    assert best["score"] == pytest.approx(1.0, abs=1e-4)


def test_an_unknown_price_is_null(predictor: Predictor) -> None:
    results = predictor.predict({"task": "search", "text": "sofa", "k": 100})["results"]
    assert {row["id"] for row in results if row["price"] is None} == {"p0", "p1"}


@pytest.mark.parametrize("fields", [("text",), ("image",), ("text", "image")])
def test_probabilities_of_any_subset(predictor: Predictor, fields: tuple[str, ...], picture: Callable[[int], bytes]) -> None:
    whole = {"text": "blue chair", "image": picture(50)}
    results = predictor.predict({"task": "categorize", **{name: whole[name] for name in fields}})["results"]
    probabilities = [row["probability"] for row in results]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert probabilities == sorted(probabilities, reverse=True)
    assert {row["category"] for row in results} == {"Lighting > Lamp", "Seating > Chair", "Seating > Sofa", "Storage > Shelf"}


def test_a_batch_answers_each_like_alone(predictor: Predictor, picture: Callable[[int], bytes]) -> None:
    requests = [
        {"task": "search", "text": "a rather long query for a black shelf with many words", "k": 2},
        {"task": "categorize", "image": picture(30), "k": 1},
        {"task": "search", "image": picture(60), "text": "bed", "k": 5},
        {"task": "categorize", "text": "sofa", "k": 4},
    ]
    together = predictor.predict_batch([parse(request) for request in requests])
    for request, answer in zip(requests, together, strict=True):
        alone = predictor.predict(request)
        number = "score" if request["task"] == "search" else "probability"
        name = "id" if request["task"] == "search" else "category"
        assert [row[name] for row in answer["results"]] == [row[name] for row in alone["results"]]
        assert [row[number] for row in answer["results"]] == pytest.approx([row[number] for row in alone["results"]], abs=1e-4)


def test_the_index_of_another_candidate_is_refused(made: Any, other: Any) -> None:
    with pytest.raises(IntegrityError, match="made by bundle"):
        Predictor.load(made.candidate, other.index)


def test_a_bundle_of_another_candidate_is_refused(made: Any, other: Any, tmp_path: Path) -> None:
    shutil.copytree(made.candidate, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "categorize")
    shutil.copytree(other.candidate / "categorize", tmp_path / "mixed" / "categorize")
    with pytest.raises(IntegrityError, match=r"candidate\.json names"):
        Predictor.load(tmp_path / "mixed", made.index)


def test_altered_weights_are_refused(made: Any, tmp_path: Path) -> None:
    shutil.copytree(made.candidate, tmp_path / "copy")
    weights = tmp_path / "copy" / "retrieve" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(IntegrityError, match="weights"):
        Predictor.load(tmp_path / "copy", made.index)


def test_a_candidate_without_a_bundle_is_refused(made: Any, tmp_path: Path) -> None:
    shutil.copytree(made.candidate, tmp_path / "copy")
    record = read_json(tmp_path / "copy" / "candidate.json")
    write_json(tmp_path / "copy" / "candidate.json", {**record, "bundles": {}})
    with pytest.raises(IntegrityError, match="names None"):
        Predictor.load(tmp_path / "copy", made.index)
