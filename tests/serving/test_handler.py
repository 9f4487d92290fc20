"""The handler over TorchServe's own context: each request of a batch gets its own answer and status."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage.answered import by_version, prediction
from serving.goodsight_handler import GoodsightHandler
from serving.timings import Part
from serving.worker_metrics import DECLARED


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the log is."""
    return tmp_path_factory.mktemp("log") / "predictions.db"


@pytest.fixture(scope="module")
def handler(made: Any, database: Path, tmp_path_factory: pytest.TempPathFactory) -> GoodsightHandler:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "candidate").symlink_to(made.candidate)
    (folder / "index").symlink_to(made.index)
    write_json(folder / "version.json", {"version": "7"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_PREDICTIONS_URI", f"sqlite:///{database}")
        patch.setenv("GOODSIGHT_HOME", str(database.parent / "home"))
        patch.setenv("GOODSIGHT_INPUT_SAMPLE", "1")
        settings.cache_clear()
        built = GoodsightHandler()
        built.initialize(Context("goodsight", str(folder), {}, 8, -1, "0.12.0"))
    return built


@pytest.fixture
def logged(handler: GoodsightHandler, database: Path) -> Callable[[str], dict[str, Any]]:
    """What the handler's log tells of an id, once it is written."""

    def find(identity: str) -> dict[str, Any]:
        assert handler.log.flush()
        found = prediction(f"sqlite:///{database}", identity)
        assert found
        return found

    return find


def send(handler: GoodsightHandler, *bodies: tuple[str, bytes]) -> list[tuple[int, dict[str, Any]]]:
    """What a batch of (content type, body) is answered: status and JSON of each."""
    context = Context("goodsight", ".", {}, 8, -1, "0.12.0")
    context.request_processor = [RequestProcessor({"Content-Type": kind}) for kind, _ in bodies]
    texts = handler.handle([{"body": bytearray(body)} for _, body in bodies], context)
    return [(context.get_response_status(place)[0], json.loads(text)) for place, text in enumerate(texts)]


def as_json(**fields: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(fields).encode()


def test_a_bad_request_does_not_fail_its_batch(handler: GoodsightHandler, picture: Callable[[int], bytes]) -> None:
    answers = send(
        handler,
        as_json(task="search", text="red sofa", k=2),
        as_json(task="search", k=2),
        ("application/json", b'{"task": "search", '),
        ("application/json", b"[1]"),
        ("application/json", b"[" * 100_000),
        as_json(task="search", text="\ud800"),
        ("image/png", b"not an image"),
        as_json(task="categorize", image=base64.b64encode(picture(40)).decode(), k=1),
        as_json(task="search", text="red", video=base64.b64encode(b"\x1a\x45\xdf\xa3" + bytes(40)).decode()),
    )
    assert [status for status, _ in answers] == [200, 400, 400, 400, 400, 400, 400, 200, 400]
    assert answers[0][1]["results"][0]["title"] == "red sofa"
    assert [body["error"].startswith(("Bad request", "the 12 bytes")) for _, body in answers[1:7]] == [True] * 6
    assert answers[7][1]["task"] == "categorize" and len(answers[7][1]["results"]) == 1


def test_a_request_of_what_the_model_does_not_read_is_refused(handler: GoodsightHandler) -> None:
    [(status, body), (other, _)] = send(handler, as_json(task="search", attributes={"colour": "red"}), as_json(task="search", text="red"))
    assert (status, other) == (400, 200) and "commercemm reads text, image" in body["error"]


def test_an_unknown_product_is_not_found_and_the_others_are_answered(
    handler: GoodsightHandler, logged: Callable[[str], dict[str, Any]]
) -> None:
    answers = send(
        handler,
        as_json(task="similar", product="p3", k=4),
        as_json(task="similar", product="nobody's"),
        as_json(task="recommend", text="sofa", liked=["p1", "nobody's"]),
        as_json(task="recommend", liked=["p1"], k=2),
        as_json(task="similar", product=7),
    )
    assert [status for status, _ in answers] == [200, 404, 404, 200, 400]
    assert all("nobody's" in body["error"] for _, body in answers[1:3])
    assert len(answers[0][1]["results"]) == 4 and "p3" not in {row["id"] for row in answers[0][1]["results"]}
    assert logged(answers[1][1]["id"])["status"] == "refused"
    assert [id for id, _ in logged(answers[3][1]["id"])["results"]] == [row["id"] for row in answers[3][1]["results"]]


def test_a_copy_is_answered_and_not_logged(handler: GoodsightHandler, database: Path) -> None:
    context = Context("goodsight", ".", {}, 8, -1, "0.12.0")
    context.request_processor = [RequestProcessor({"Content-Type": "application/json", **more}) for more in ({"X-Goodsight-Copy": "1"}, {})]
    rows = [{"body": bytearray(as_json(task="search", text="red sofa")[1])} for _ in range(2)]
    copy, asked = (json.loads(text)["id"] for text in handler.handle(rows, context))
    assert handler.log.flush()
    assert prediction(f"sqlite:///{database}", copy) is None and prediction(f"sqlite:///{database}", asked)


def test_the_log_keeps_no_vector(handler: GoodsightHandler, logged: Callable[[str], dict[str, Any]]) -> None:
    [(status, body)] = send(handler, as_json(task="embed", text="red sofa"))
    assert status == 200 and len(body["results"][0]["vector"]) == handler.predictor.index.vectors.shape[1]
    row = logged(body["id"])
    assert (row["task"], row["status"], row["results"]) == ("embed", "ok", [])


def test_an_image_body_is_categorized(handler: GoodsightHandler, picture: Callable[[int], bytes]) -> None:
    [(status, body)] = send(handler, ("image/png", picture(40)))
    assert (status, body["task"], body["model_version"]) == (200, "categorize", "7")


def test_a_request_without_a_body_is_refused(handler: GoodsightHandler) -> None:
    context = Context("goodsight", ".", {}, 8, -1, "0.12.0")
    context.request_processor = [RequestProcessor({})]
    [text] = handler.handle([{}], context)
    assert context.get_response_status(0)[0] == 400 and "not JSON" in json.loads(text)["error"]


def test_the_version_comes_from_the_archive(handler: GoodsightHandler) -> None:
    assert handler.predictor.version == "7"


def test_every_answer_has_an_id_and_the_log_tells_what_was_answered(
    handler: GoodsightHandler, made: Any, logged: Callable[[str], dict[str, Any]]
) -> None:
    answers = send(handler, as_json(task="search", text=" a secret wish ", k=2), as_json(task="categorize", text="sofa", k=3), as_json(k=2))
    found, named, refused = (body for _, body in answers)
    rows = {body["id"]: logged(body["id"]) for _, body in answers}
    assert len(rows) == 3
    first, second, third = rows.values()
    told = {name: first[name] for name in ("task", "modalities", "model_version", "candidate", "index", "k", "status")}
    assert told == {name: found.get(name, told[name]) for name in told} | {"k": 2, "status": "ok"}
    assert first["results"] == [[row["id"], round(row["score"], 6)] for row in found["results"]]
    assert second["results"] == [[row["category"], round(row["probability"], 6)] for row in named["results"]]
    assert (third["status"], third["results"], third["task"]) == ("refused", [], "") and refused["error"]
    assert 0 < first["latency_ms"] < 60_000


def test_the_log_knows_the_request_by_its_digest_alone(
    handler: GoodsightHandler, database: Path, picture: Callable[[int], bytes], logged: Callable[[str], dict[str, Any]]
) -> None:
    encoded = base64.b64encode(picture(40)).decode()
    same = [as_json(task="categorize", image=encoded), ("image/png", picture(40)), as_json(k=10, text="", image=encoded, task="categorize")]
    other = [as_json(task="categorize", image=encoded, k=9), as_json(task="search", image=encoded)]
    digests = [logged(body["id"])["input"] for _, body in send(handler, *same, *other)]
    assert digests[0] == digests[1] == digests[2] and len(set(digests)) == 3
    [(_, body)] = send(handler, as_json(task="search", text="unforgettable words"))
    assert logged(body["id"])
    assert all(b"unforgettable" not in file.read_bytes() for file in database.parent.glob("*.db*"))


def test_the_request_that_drains_a_version_is_answered_once_the_log_is_written(handler: GoodsightHandler, database: Path) -> None:
    before = sum(each["count"] for each in by_version(f"sqlite:///{database}"))
    send(handler, *[as_json(task="search", text=f"sofa {number}") for number in range(5)], ("application/json", b"{}"))
    assert sum(each["count"] for each in by_version(f"sqlite:///{database}")) == before + 5


def test_a_sample_of_inputs_is_kept_by_the_digest_that_the_log_has(
    handler: GoodsightHandler, logged: Callable[[str], dict[str, Any]]
) -> None:
    [(_, body), (_, refused)] = send(handler, as_json(task="search", text="kept words", k=2), as_json(task="search", text="kept", k=0))
    assert handler.sample.flush()
    kept = {path.stem: read_json(path) for path in handler.sample.folder.iterdir()}
    assert kept[logged(body["id"])["input"]] == {"task": "search", "text": "kept words", "k": 2}
    assert logged(refused["id"])["input"] not in kept


def test_the_metrics_tell_task_status_version_and_where_the_time_went(handler: GoodsightHandler, caplog: pytest.LogCaptureFixture) -> None:
    metrics = MetricsCacheYamlImpl(config_file_path=str(DECLARED))
    metrics.initialize_cache()
    context = Context("goodsight", ".", {}, 8, -1, "0.12.0", metrics=metrics)
    asked = [{"task": "search", "text": "sofa"}, {"task": "search", "text": "bed"}, {"task": "similar", "product": "p99"}, {}]
    context.request_processor = [RequestProcessor({"Content-Type": "application/json"}) for _ in asked]
    with caplog.at_level(logging.INFO):
        handler.handle([{"body": json.dumps(each).encode()} for each in asked], context)
    told = [line for line in caplog.messages if "[METRICS]goodsight_worker" in line]
    assert not [line for line in caplog.messages if "Failed" in line]

    def value(name: str, labels: str) -> float:
        [line] = [line for line in told if line.startswith(f"[METRICS]goodsight_worker_{name}.") and f"|#{labels}|" in line]
        return float(line.partition(":")[2].partition("|")[0])

    assert value("batch_size", "version:7") == 4
    assert value("requests_total", "version:7,task:search,status:200") == 2
    assert value("requests_total", "version:7,task:none,status:404") == value("requests_total", "version:7,task:none,status:400") == 1
    assert all(0 < value("part_seconds", f"version:7,part:{part}") < 60 for part in get_args(Part))
