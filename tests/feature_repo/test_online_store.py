"""The online store by URL: Redis and Postgres, the real ones, give what SQLite gives; nothing of a password is written down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from feature_repo.online import OnlineFeatures
from feature_repo.online_store import online_store_config
from feature_repo.store import build_features, online_products
from goodsight.errors import InputError
from goodsight.settings import settings
from tests.feature_repo.conftest import PASSWORD
from tests.feature_repo.made import START, event, events_table, product, query, snapshot_of

PRODUCTS = [product("a", price=10.0), product("b")]
EVENTS = [event("a", "view", 0, query="red sofa"), event("a", "price", 1, value=8.0)]
NOW = START + timedelta(days=2)


@pytest.fixture
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server of the parameter, named by the setting."""
    found = request.getfixturevalue(request.param) if request.param else ""
    monkeypatch.setenv("GOODSIGHT_ONLINE_STORE", found)
    settings.cache_clear()
    yield found
    settings.cache_clear()


SERVERS = [pytest.param(f"{name}_url", marks=pytest.mark.servers) for name in ("redis", "postgres")]


@pytest.mark.parametrize("url", ["", *SERVERS], indirect=True)
def test_every_online_store_reads_pushes_and_keeps_stores_apart(url: str, tmp_path: Path) -> None:
    build_features(snapshot_of(tmp_path / "one", PRODUCTS, [query("q", "a")], EVENTS), tmp_path / "one" / "store")
    build_features(snapshot_of(tmp_path / "two", [product("a", price=99.0)], []), tmp_path / "two" / "store")
    assert online_products(tmp_path / "one" / "store", ["b", "a"])["price"].to_pylist() == [None, 10.0]
    assert online_products(tmp_path / "two" / "store", ["a"])["price"].to_pylist() == [99.0]
    with OnlineFeatures(tmp_path / "one" / "store") as online:
        found = online.products(["a", "b"])
        assert (found["views_30d"], found["price_now"], found["discount"]) == ([1, None], [8.0, None], [pytest.approx(0.2), None])
        assert online.queries(["Red sofa"])["asked_30d"] == [1]
        online.push(events_table([event("b", "view", 1.5)]), NOW)
        assert online.products(["a", "b"])["views_30d"] == [1, 1]


@pytest.mark.servers
@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_no_file_of_a_store_knows_the_password(url: str, tmp_path: Path) -> None:
    build_features(snapshot_of(tmp_path, PRODUCTS, [], EVENTS), tmp_path / "store")
    written = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert written and not any(PASSWORD.encode() in path.read_bytes() for path in written)
    assert "online.db" not in {path.name for path in written}


def test_a_url_becomes_feasts_configuration() -> None:
    assert online_store_config("") == {"type": "sqlite", "path": "online.db"}
    found = online_store_config("rediss://me:p%40ss@cache:6380/3")
    assert found == {"type": "redis", "connection_string": 'cache:6380,db=3,username="me",password="p@ss",ssl=true'}
    found = online_store_config("postgresql://me:p%2Fss@db/features?sslmode=require")
    assert found == {
        "type": "postgres",
        "host": "db",
        "port": 5432,
        "database": "features",
        "user": "me",
        "password": "p/ss",
        "sslmode": "require",
    }


@pytest.mark.parametrize("password", ["12345", "true", "a,b=c", 'quo"te\\', "p@ss"])
def test_any_password_of_a_redis_reaches_it_as_it_is(password: str) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    found = online_store_config(f"redis://:{quote(password, safe='')}@cache/0")["connection_string"]
    nodes, options = RedisOnlineStore._parse_connection_string(found)
    assert (nodes, options["password"]) == ([{"host": "cache", "port": "6379"}], password)


@pytest.mark.parametrize("url", ["mysql://host/db", "redis:///0", "redis://host:port/0", "nonsense"])
def test_another_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InputError, match="no URL of a Redis or a Postgres") as raised:
        online_store_config(url)
    assert url not in str(raised.value)
