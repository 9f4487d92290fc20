"""The predictor answers from any modality, alone or in a batch, and refuses parts that do not belong together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goodsight.errors import InputError, IntegrityError, NotFoundError
from goodsight.files import read_json, write_json
from lineage.signing import sign
from samples import furniture
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
    assert answer["effort"] == "high"


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


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["id"] for row in answer["results"]]


def test_a_vector_finds_what_its_content_finds(predictor: Predictor) -> None:
    [embedded] = predictor.predict({"task": "embed", "text": "green lamp"})["results"]
    vector = np.array(embedded["vector"], dtype=np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    best = predictor.index.ids[int((predictor.index.vectors @ vector).argmax())]
    assert [best] == ids(predictor.predict({"task": "search", "text": "green lamp", "k": 1}))


def test_similar_products_are_the_nearest_others(predictor: Predictor) -> None:
    answer = predictor.predict({"task": "similar", "product": "p12", "k": 5})
    vectors, own = predictor.index.vectors, predictor.index.ids.index("p12")
    nearest = [predictor.index.ids[row] for row in np.argsort(-(vectors @ vectors[own])) if row != own]
    assert ids(answer) == nearest[:5]
    assert (answer["modalities"], answer["effort"]) == ([], None)


def test_what_is_liked_is_never_recommended_and_draws_the_answer(predictor: Predictor) -> None:
    def near(vector: np.ndarray, *liked: str) -> list[str]:
        order = np.argsort(-(predictor.index.vectors @ vector))
        return [id for row in order if (id := predictor.index.ids[row]) not in liked][:6]

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    topic = np.array(predictor.predict({"task": "embed", "text": "bed"})["results"][0]["vector"])
    taste = unit(predictor.index.vectors_of(["p0", "p3"]).mean(axis=0))
    by_topic = predictor.predict({"task": "recommend", "text": "bed", "k": 6})
    by_taste = predictor.predict({"task": "recommend", "liked": ["p0", "p3"], "k": 6})
    by_both = predictor.predict({"task": "recommend", "text": "bed", "liked": ["p0", "p3"], "k": 6})
    assert ids(by_topic) == near(topic) and by_topic["modalities"] == ["text"]
    assert ids(by_taste) == near(taste, "p0", "p3") and by_taste["modalities"] == []
    assert ids(by_both) == near(unit(taste + unit(topic)), "p0", "p3")
    assert ids(by_both) != ids(by_taste) and ids(by_both) != ids(by_topic)
    everything = predictor.predict({"task": "recommend", "text": "bed", "liked": ["p0", "p3"], "k": 100})
    assert {*ids(everything), "p0", "p3"} == set(predictor.index.ids)


@pytest.mark.parametrize(
    "task", [{"task": "search", "text": "sofa"}, {"task": "recommend", "liked": ["p7"]}, {"task": "similar", "product": "p7"}]
)
def test_filters_hold_for_every_task_that_finds_products(predictor: Predictor, task: dict[str, Any]) -> None:
    asked = {"price": {"min": 15, "max": 20}, "category": ["Seating"]}
    results = predictor.predict({**task, "filters": asked, "k": 100})["results"]
    assert results and all(15 <= row["price"] <= 20 and row["category"].startswith("Seating > ") for row in results)


@pytest.mark.parametrize("task", [{"task": "similar", "product": "p99"}, {"task": "recommend", "text": "sofa", "liked": ["p1", "p99"]}])
def test_an_unknown_product_is_not_found(predictor: Predictor, task: dict[str, Any]) -> None:
    with pytest.raises(NotFoundError, match="p99"):
        predictor.predict(task)


def test_a_model_that_gains_nothing_by_it_does_not_re_rank(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="no second look"):
        predictor.predict({"task": "search", "text": "sofa", "rerank": True})


@pytest.mark.parametrize("task", ["categorize", "embed"])
def test_effort_changes_the_answer_and_only_its_own(predictor: Predictor, picture: Callable[[int], bytes], task: str) -> None:
    asked = [{"task": task, "text": "red sofa", "image": picture(40), "effort": effort} for effort in ("low", "high", "medium", "low")]
    answers = predictor.predict_batch([parse(request) for request in asked])
    assert [answer["effort"] for answer in answers] == ["low", "high", "medium", "low"]
    low, high, medium, again = (answer["results"] for answer in answers)
    assert low == again and low != medium != high != low
    assert predictor.predict({**asked[0], "effort": None}) == answers[1]


def test_a_model_of_one_depth_says_so(of_five: Predictor) -> None:
    low, usual = (of_five.predict({"task": "categorize", "text": "red sofa", "effort": effort}) for effort in ("low", None))
    assert low == usual and low["effort"] == "high"


def test_a_vector_comes_back_as_every_batch_gives_it(predictor: Predictor, picture: Callable[[int], bytes]) -> None:
    """Tasks that share a model go through it together, and each gets its own."""
    requests = [
        {"task": "similar", "product": "p4"},
        {"task": "embed", "text": "black shelf"},
        {"task": "categorize", "text": "black shelf", "k": 2},
        {"task": "recommend", "image": picture(40), "liked": ["p2"]},
        {"task": "search", "text": "red bed", "k": 3},
        {"task": "embed", "image": picture(60)},
    ]
    together = predictor.predict_batch([predictor.answerable(parse(request)) for request in requests])
    for request, answer in zip(requests, together, strict=True):
        alone = predictor.predict(request)
        assert {**answer, "results": None} == {**alone, "results": None}
        if request["task"] == "embed":
            assert answer["results"][0]["vector"] == pytest.approx(alone["results"][0]["vector"], abs=1e-5)
        else:
            assert [row.get("id", row.get("category")) for row in answer["results"]] == [
                row.get("id", row.get("category")) for row in alone["results"]
            ]


def test_the_index_of_another_candidate_is_refused(made: Any, other: Any) -> None:
    with pytest.raises(IntegrityError, match="made by bundle"):
        Predictor.load(made.candidate, other.index)


def test_a_bundle_of_another_candidate_is_refused(made: Any, other: Any, tmp_path: Path) -> None:
    shutil.copytree(made.candidate, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "categorize")
    shutil.copytree(other.candidate / "categorize", tmp_path / "mixed" / "categorize")
    sign(tmp_path / "mixed")
    with pytest.raises(IntegrityError, match=r"candidate\.json names"):
        Predictor.load(tmp_path / "mixed", made.index)


def test_a_candidate_without_a_bundle_is_refused(made: Any, tmp_path: Path) -> None:
    shutil.copytree(made.candidate, tmp_path / "copy")
    record = read_json(tmp_path / "copy" / "candidate.json")
    write_json(tmp_path / "copy" / "candidate.json", {**record, "bundles": {}})
    sign(tmp_path / "copy")
    with pytest.raises(IntegrityError, match="names None"):
        Predictor.load(tmp_path / "copy", made.index)


@pytest.fixture(scope="module")
def of_five(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """SCALE, which reads all five modalities."""
    made = make(tmp_path_factory.mktemp("scale"), 3, "scale")
    return Predictor.load(made.candidate, made.index)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """A product with everything, from the sample."""
    record = next(row for row in map(json.loads, (furniture() / "products.jsonl").read_text().splitlines()) if row.get("audio"))
    media = {"image": record["images"][0], "video": record["video"], "audio": record["audio"]}
    read = {name: (furniture() / path).read_bytes() for name, path in media.items()}
    return {"text": record["title"], "attributes": record["attributes"], **read}


FIELDS = ("text", "image", "attributes", "video", "audio")


@pytest.mark.parametrize("task", ["categorize", "search"])
def test_every_modality_is_read_alone_and_changes_the_answer_of_all(of_five: Predictor, whole: dict[str, Any], task: str) -> None:
    def scores(**fields: Any) -> list[float]:
        answer = of_five.predict({"task": task, "k": 100, **fields})
        assert len(answer["modalities"]) == len(fields)
        rows = sorted(answer["results"], key=lambda row: row.get("id", row.get("category")))
        return [row.get("score", row.get("probability")) for row in rows]

    everything = scores(**whole)
    for name in FIELDS:
        assert scores(**{name: whole[name]})
        less = scores(**{other: whole[other] for other in FIELDS if other != name})
        assert less != pytest.approx(everything, abs=1e-7), name


def test_rows_with_other_modalities_are_answered_like_alone(of_five: Predictor, whole: dict[str, Any]) -> None:
    requests = [{"task": "categorize", **{name: whole[name] for name in names}} for names in (("text",), ("audio", "video"), FIELDS)]
    together = of_five.predict_batch([parse(request) for request in requests])
    for request, answer in zip(requests, together, strict=True):
        alone = of_five.predict(request)
        assert answer["modalities"] == alone["modalities"]
        for one, other in zip(answer["results"], alone["results"], strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_what_a_model_does_not_read_is_left_out_and_told(predictor: Predictor, whole: dict[str, Any]) -> None:
    answer = predictor.predict({"task": "categorize", **whole})
    assert answer["modalities"] == ["text", "image"]
    assert answer["results"] == predictor.predict({"task": "categorize", "text": whole["text"], "image": whole["image"]})["results"]
    with pytest.raises(InputError, match="commercemm reads text, image, and the request has video, audio alone"):
        predictor.predict({"task": "search", "video": whole["video"], "audio": whole["audio"]})
