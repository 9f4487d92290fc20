"""Feedback over HTTP: of answers of a real model, counted once, within limits, by keys that may."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from goodsight_client import AsyncClient, Problem, Refused

from goodsight.errors import GoodsightError
from goodsight.settings import settings
from lineage.feedback import figures, of_prediction
from lineage.feedback_log import FeedbackLog, Given, Limits
from lineage.predictions import PredictionLog, new_id
from serving.gateway import feedback as route
from serving.gateway.access import Access
from serving.gateway.gateway import giving
from serving.gateway.keys import Keys
from tests.lineage.test_predictions import SOFA
from tests.lineage.test_predictions import made as made_answer
from tests.serving.gateway.standing import Held, InProcess, Stand, Standing, problem

pytestmark = pytest.mark.anyio


@pytest.fixture
async def standing(model: InProcess, stand: Stand) -> AsyncIterator[Standing]:
    """A gateway before the real predictor, whose feedback goes where the predictor logs."""
    async with stand(model) as it:
        it.gateway.feedback = giving(url(model))
        yield it


def url(model: InProcess) -> str:
    return f"sqlite:///{model.database}"


async def found(standing: Standing, task: str = "search", k: int = 3) -> dict[str, Any]:
    answer = await standing.client.post(f"/v1/{task}", json={"text": "red sofa", "k": k})
    told: dict[str, Any] = answer.json()
    return told


async def say(standing: Standing, **piece: Any) -> httpx.Response:
    return await standing.client.post("/v1/feedback", json=piece)


async def test_a_click_is_kept_at_once_and_once(standing: Standing, model: InProcess) -> None:
    answer = await found(standing)
    second = answer["results"][1]["id"]
    first = await say(standing, prediction=answer["id"], kind="click", product=second)  # the log may not even have the answer yet
    again = await say(standing, prediction=answer["id"].upper(), kind="click", product=second)
    assert first.status_code == again.status_code == 200, first.text
    assert first.json()["new"] and again.json() == {"id": first.json()["id"], "new": False}
    [kept] = of_prediction(url(model), answer["id"])
    assert (kept["kind"], kept["product"], kept["place"], kept["model_version"], kept["task"]) == ("click", second, 2, "7", "search")
    counted = (await standing.client.get("/metrics")).text
    assert 'goodsight_feedback_pieces_total{kind="click",result="new"} 1.0' in counted
    assert 'goodsight_feedback_pieces_total{kind="click",result="known"} 1.0' in counted


async def test_who_is_right_is_known_from_categories(standing: Standing, model: InProcess) -> None:
    before = figures(url(model), "2020-01-01", "2100-01-01")
    right, wrong = await found(standing, "categorize"), await found(standing, "categorize")
    first, second = (each["category"] for each in right["results"][:2])
    assert (await say(standing, prediction=right["id"], kind="category", category=first)).json()["new"]
    assert (await say(standing, prediction=wrong["id"], kind="category", category=second, product="p3")).json()["new"]
    after = figures(url(model), "2020-01-01", "2100-01-01")
    assert [after[name] - before[name] for name in ("judged", "correct", "corrections")] == [2, 1, 1]
    refused = problem(await say(standing, prediction=right["id"], kind="category", category=second), 409)
    assert first in refused["detail"]


async def test_what_the_answer_cannot_have_is_refused(standing: Standing) -> None:
    answer, category = await found(standing), await found(standing, "categorize")
    shown = answer["results"][0]["id"]
    for piece in (
        {"kind": "click", "product": "p-none"},
        {"kind": "click"},
        {"kind": "view", "product": shown},
        {"kind": "click", "product": shown, "category": "Seating"},
        {"kind": "purchase", "product": shown, "value": -1},
        {"kind": "click", "product": shown, "time": "2020-01-01T00:00:00Z"},
        {"kind": "click", "product": shown, "time": "0001-01-01T00:00:00+14:00"},
        {"kind": "click", "product": shown, "time": "yesterday"},
        {"kind": "click", "product": shown, "visitor": "\0"},
        {"kind": "category", "category": "Seating"},
        {"kind": "category", "product": shown, "category": " > "},
    ):
        told = problem(await say(standing, prediction=answer["id"], **piece), 400)
        assert told["detail"].startswith("Bad request: "), piece
    problem(await say(standing, prediction=category["id"], kind="click", product=shown), 400)
    refused = await standing.client.post("/v1/search", json={"text": "a", "k": 1, "filters": {"category": ["no such"]}})
    assert refused.status_code == 200 and refused.json()["results"] == []
    problem(await say(standing, prediction=refused.json()["id"], kind="click", product=shown), 400)


async def test_an_answer_that_was_never_given(standing: Standing) -> None:
    old = str(uuid.UUID(int=uuid.UUID(new_id()).int - (10_000 << 80)))
    started = time.monotonic()
    problem(await say(standing, prediction=old, kind="click", product="p1"), 404)
    assert time.monotonic() - started < route.FRESH_SECONDS, "an id of ten seconds ago is not waited for"
    problem(await say(standing, prediction=new_id(), kind="click", product="p1"), 404)
    problem(await say(standing, prediction="x", kind="click", product="p1"), 400)


async def test_a_batch_is_kept_one_by_one(standing: Standing, model: InProcess) -> None:
    answer = await found(standing)
    clicks = [{"prediction": answer["id"], "kind": "click", "product": each["id"]} for each in answer["results"]]
    bought = {**clicks[0], "kind": "purchase", "value": 9.5}
    pieces = [*clicks, bought, {**bought, "value": 3.0}, clicks[0], {"kind": "gs_secret"}]
    told = await standing.client.post("/v1/feedback", json={"requests": pieces})
    kept = told.json()["responses"]
    assert [each.get("new") for each in kept] == [True, True, True, True, None, False, None]
    assert [kept[4]["status"], kept[6]["status"], kept[5]["id"]] == [409, 400, kept[0]["id"]]
    assert "gs_secret" not in told.text, "what was sent is not told again"
    assert len(of_prediction(url(model), answer["id"])) == 4
    for wrong in ({"requests": []}, {"requests": clicks, "k": 1}, {"requests": clicks * 20}, {"requests": [7]}, [], "a"):
        problem(await standing.client.post("/v1/feedback", json=wrong), 400)
    problem(await standing.client.post("/v1/feedback", content=b"{", headers={"Content-Type": "application/json"}), 400)
    problem(await standing.client.post("/v1/feedback", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    long = {"prediction": answer["id"], "kind": "click", "product": "p" * 2**20}
    problem(await standing.client.post("/v1/feedback", json=long), 413)


async def test_an_answer_and_a_key_have_their_share(standing: Standing, model: InProcess) -> None:
    database = FeedbackLog(url(model), Limits(prediction=2))
    standing.gateway.feedback = database.give
    answer = await found(standing)
    status = [(await say(standing, prediction=answer["id"], kind="click", product=each["id"])).status_code for each in answer["results"]]
    assert status == [200, 200, 409]
    shown = answer["results"][0]["id"]
    assert (await say(standing, prediction=answer["id"], kind="click", product=shown)).json()["new"] is False, "known ones cost nothing"
    standing.gateway.feedback = FeedbackLog(url(model), Limits(day=1)).give
    late = await say(standing, prediction=(await found(standing))["id"], kind="click", product=shown)
    assert problem(late, 429) and late.headers["retry-after"] == "3600"


async def test_a_key_says_whether_it_may(stand: Stand, tmp_path: Path) -> None:
    keys = Keys(f"sqlite:///{tmp_path / 'keys.db'}")
    may, may_not = keys.create("shop", ["feedback"], 50), keys.create("reader", ["predict", "audit"], 50)
    piece = {"prediction": str(uuid.uuid4()), "kind": "click", "product": "p1"}
    async with stand(Held(), access=Access(keys)) as it:
        for key, status in ((may, 404), (may_not, 403), ("gs_none", 401)):
            sent = await it.client.post("/v1/feedback", json=piece, headers={"Authorization": f"Bearer {key}"})
            assert sent.status_code == status, sent.text


async def test_a_log_that_is_away_is_worth_another_try(standing: Standing) -> None:
    def away(given: Given, key: str) -> Any:
        raise GoodsightError("The feedback cannot be written: disk full")

    standing.gateway.feedback = away
    told = await say(standing, prediction=new_id(), kind="click", product="p1")
    assert problem(told, 503) and told.headers["retry-after"] == "5" and "disk" not in told.text


async def test_the_client_says_it_the_same_way(standing: Standing, model: InProcess) -> None:
    answer, named = await found(standing), await found(standing, "categorize")
    [first, second, third] = [each["id"] for each in answer["results"]]
    async with AsyncClient("http://localhost") as goodsight:
        goodsight._http = standing.client
        assert (await goodsight.clicked(answer["id"], first, visitor="ann")).new
        assert not (await goodsight.clicked(answer["id"], first)).new
        assert (await goodsight.bought(answer["id"], second, 19.5, query="red sofa")).new
        assert (await goodsight.corrected(named["id"], "Seating > Sofas", "p1")).new
        with pytest.raises(Refused, match="did not show"):
            await goodsight.clicked(answer["id"], "p-none")
        clicks = [{"prediction": answer["id"], "kind": "click", "product": each} for each in (first, second, third, "p-none")]
        many = await goodsight.feedback(clicks * 10)
    new = [sum(each.new for each in many[place::4]) for place in range(3)]  # whichever of the ten came first
    assert new == [0, 1, 1] and len(many) == 40 and isinstance(many[3], Problem)
    kept = of_prediction(url(model), answer["id"])
    assert [(each["kind"], each["value"], each["query"]) for each in kept[:2]] == [("click", None, ""), ("purchase", 19.5, "red sofa")]
    assert kept[0]["visitor"] not in ("", "ann") and kept[2]["visitor"] == ""


async def test_who_waits_for_the_log_keeps_nobody_from_writing_it(stand: Stand) -> None:
    log, answer = PredictionLog(settings().predictions_url), made_answer()
    async with stand(Held()) as it:
        pieces = [asyncio.create_task(say(it, prediction=answer.id, kind="click", product=SOFA)) for _ in range(8)]
        done, _ = await asyncio.wait(pieces, timeout=0.5)
        assert not done, "the log does not have the answer yet"
        log.log(answer)
        told = [(await piece).json() for piece in pieces]
    assert sum(each["new"] for each in told) == 1 and len({each["id"] for each in told}) == 1
