"""API keys: made and ended by command, asked for by the gateway, counted by their rates."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from goodsight.errors import InputError
from goodsight.settings import settings
from pipelines.command import app
from serving.gateway.access import Access, Rates
from serving.gateway.keys import Keys
from tests.serving.gateway.standing import Held, Stand, problem

pytestmark = pytest.mark.anyio
SOFA = {"text": "sofa"}


def keys_command(*arguments: str) -> str:
    """What `goodsight keys` says."""
    done = CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def keys() -> Keys:
    return Keys(settings().api_keys_url)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def held() -> Held:
    made = Held()
    made.let_go()
    return made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are read again at each request."""
    monkeypatch.setattr("serving.gateway.access.FRESH_SECONDS", -1.0)
    monkeypatch.setattr("serving.gateway.access.UNKNOWN_SECONDS", -1.0)


async def ask(client: httpx.AsyncClient, key: str = "") -> int:
    return (await client.post("/v1/search", json=SOFA, headers=bearer(key) if key else {})).status_code


async def test_a_key_lets_its_scope_in(stand: Stand, held: Held) -> None:
    search = keys_command("create", "shop")
    audit = keys_command("create", "auditor", "--scope", "audit")
    async with stand(held, access=Access(keys())) as it:
        assert [await ask(it.client, key) for key in (search, audit, "", "gs_wrong", search + "x")] == [200, 403, 401, 401, 401]
        refused = await it.client.post("/v1/search", json=SOFA)
        assert problem(refused, 401) and refused.headers["www-authenticate"].startswith("Bearer")
        assert (await it.client.get("/v1/predictions/x", headers=bearer(search))).status_code == 403
        assert (await it.client.get("/v1/predictions/x", headers=bearer(audit))).status_code == 404
        for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json"):
            assert (await it.client.get(path)).status_code == 200
        assert (await it.client.get("/health/live", headers={"Host": "shop.example"})).status_code == 200, "keys are the guard now"
        assert len(held.came) == 1


async def test_who_has_no_key_is_refused_before_the_body_is_read(stand: Stand, held: Held) -> None:
    keys_command("create", "shop")
    async with stand(held, access=Access(keys())) as it:
        read = 0

        async def body() -> Any:
            nonlocal read
            for _ in range(64):
                read += 1
                yield b" " * 2**16

        told = await it.client.post("/v1/search", content=body(), headers={"Content-Type": "application/json"})
        assert problem(told, 401) and read <= 1


async def test_keys_are_made_rotated_and_revoked_while_it_runs(stand: Stand, held: Held, impatient: None) -> None:
    async with stand(held, access=Access(keys())) as it:
        assert await ask(it.client) == 200, "nobody ever made a key, and this is loopback"
        first = keys_command("create", "shop")
        async with asyncio.timeout(10):
            while await ask(it.client) == 200:
                pass
        assert [await ask(it.client, first), await ask(it.client)] == [200, 401]
        second = keys_command("rotate", "shop", "--overlap", "1")
        assert [await ask(it.client, first), await ask(it.client, second)] == [200, 200]
        keys_command("revoke", "shop")
        await ask(it.client, "gs_unknown")  # after which the keys have been read
        assert [await ask(it.client, key) for key in (first, second, "")] == [401, 401, 401], "the last one gone, it is not open"


def test_a_key_that_was_rotated_ends_with_its_overlap() -> None:
    made = keys()
    made.create("shop", ["predict"], 5)
    made.rotate("shop", timedelta(hours=-1))
    old, new = made.all()
    assert not old.counts("2026-01-01" if old.ends is None else old.made) and new.counts("9999")
    assert (new.scopes, new.rate) == (("predict",), 5)


def test_a_key_is_kept_nowhere(_home: Path) -> None:
    key = keys_command("create", "shop", "--scope", "predict", "--scope", "audit", "--rate", "7")
    assert key.startswith("gs_") and len(key) > 40
    assert key not in keys_command("list") and "shop: counts; audit, predict; 7 a second" in keys_command("list")
    assert all(key.encode() not in file.read_bytes() for file in _home.rglob("*") if file.is_file())
    [row] = sqlite3.connect(_home / "api_keys.db").execute("SELECT sha256 FROM api_keys")
    assert len(row[0]) == 64


def test_a_wrong_key_is_not_made() -> None:
    for make in (lambda: keys().create("", ["predict"], 5), lambda: keys().create("a", ["all"], 5), lambda: keys().create("a", [], 5)):
        with pytest.raises(InputError):
            make()
    with pytest.raises(InputError, match="goodsight keys list"):
        keys().rotate("nobody", timedelta())
    assert keys().all() == []


def test_a_name_has_one_key_at_a_time() -> None:
    keys().create("shop", ["predict"], 5)
    with pytest.raises(InputError, match="keys rotate shop"):
        keys().create("shop", ["predict"], 5)
    keys().revoke("shop")
    keys().create("shop", ["predict"], 5)


def test_beyond_loopback_it_needs_a_key() -> None:
    Access(keys()).check_host("127.0.0.1")
    with pytest.raises(InputError, match=r"0\.0\.0\.0(.|\n)*goodsight keys create"):
        Access(keys()).check_host("0.0.0.0")
    keys().create("shop", ["predict"], 5)
    Access(keys()).check_host("0.0.0.0")
    keys().revoke("shop")
    with pytest.raises(InputError):
        Access(keys()).check_host("0.0.0.0")


async def test_a_key_has_its_rate(stand: Stand, held: Held) -> None:
    slow, fast = keys().create("slow", ["predict"], 1), keys().create("fast", ["predict"], 1000)
    async with stand(held, access=Access(keys())) as it:
        statuses = [await ask(it.client, slow) for _ in range(33)]
        assert statuses == [200] * 32 + [429], "one a second, and a batch of 32 at once"
        refused = await it.client.post("/v1/search", json=SOFA, headers=bearer(slow))
        assert problem(refused, 429) and 1 <= int(refused.headers["retry-after"]) <= 64
        assert await ask(it.client, fast) == 200


async def test_a_batch_counts_each_of_its_requests(stand: Stand, held: Held) -> None:
    key = keys().create("slow", ["predict"], 1)
    async with stand(held, access=Access(keys())) as it:
        batch = {"requests": [SOFA] * 20}
        assert (await it.client.post("/v1/search", json=batch, headers=bearer(key))).status_code == 200
        assert (await it.client.post("/v1/search", json=batch, headers=bearer(key))).status_code == 429
        assert len(held.came) == 20


@pytest.mark.servers
async def test_gateways_share_rates_in_a_redis(stand: Stand, held: Held, redis_url: str) -> None:
    key = keys().create("slow", ["predict"], 1)
    async with stand(held, access=Access(keys(), Rates(redis_url))) as one, stand(held, access=Access(keys(), Rates(redis_url))) as other:
        assert {await ask(one.client, key) for _ in range(32)} == {200}
        assert await ask(other.client, key) == 429


async def test_a_store_of_rates_that_is_down_stops_nobody(stand: Stand, held: Held) -> None:
    key = keys().create("slow", ["predict"], 1)
    async with stand(held, access=Access(keys(), Rates("redis://127.0.0.1:1/0"))) as it:
        assert await ask(it.client, key) == 200
