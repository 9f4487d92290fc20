"""The online store by URL, in Feast's words. (The servers themselves: test_served.py.)"""

from __future__ import annotations

from urllib.parse import quote

import pytest

from feature_repo.online_store import online_store_config
from goodsight.errors import InputError

WAIT = "socket_timeout=0.5,socket_connect_timeout=0.5,retry=null"


def test_a_url_becomes_feasts_configuration() -> None:
    assert online_store_config("") == {"type": "sqlite", "path": "online.db"}
    found = online_store_config("rediss://me:p%40ss@cache:6380/3")
    assert found == {"type": "redis", "connection_string": f'cache:6380,db=3,{WAIT},username="me",password="p@ss",ssl=true'}
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
