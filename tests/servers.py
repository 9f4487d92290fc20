"""Real servers: Debian's Redis and Postgres on free ports of loopback, each in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

PASSWORD = "s3cret/with@signs,and=more"


def found(name: str) -> str:
    """The path of a server; without one the test is skipped or, where GOODSIGHT_REQUIRE_SERVERS is 1, fails."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = shutil.which(name) or (str(debian[-1]) if debian else None)
    if path is None:
        missing = f"No {name} here (Debian: apt-get install redis-server postgresql)."
        pytest.fail(missing) if os.environ.get("GOODSIGHT_REQUIRE_SERVERS") == "1" else pytest.skip(missing)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], ready: Any, **options: Any) -> Iterator[None]:
    """A server process, asked until it is `ready` and stopped at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        retry(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True)(ready)()
        yield
    finally:
        process.send_signal(signal.SIGINT)  # of which Postgres does not wait for its clients
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    import redis

    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [found("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        client = redis.Redis(port=port, password=PASSWORD)
        with running([*command, "--requirepass", PASSWORD], client.ping):
            yield f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Postgres does not run as root: then it runs as `postgres`, or as `nobody`."""
    import psycopg

    names = {user.pw_name for user in pwd.getpwall()}
    owner: dict[str, Any] = {"user": "postgres" if "postgres" in names else "nobody"} if os.geteuid() == 0 else {}
    initdb, port = found("initdb"), free_port()
    with tempfile.TemporaryDirectory() as folder:
        data, secret = Path(folder) / "data", Path(folder) / "password"
        secret.write_text(PASSWORD)
        if owner:
            for path in (folder, secret):
                shutil.chown(path, owner["user"])
        made = [initdb, "-D", str(data), "-U", "features", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **owner)
        postgres = str(Path(initdb).resolve().with_name("postgres"))
        server = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
        address = {"host": "127.0.0.1", "port": port, "user": "features", "password": PASSWORD, "dbname": "postgres"}
        with running(server, lambda: psycopg.connect(**address).close(), cwd=folder, **owner):
            yield f"postgresql://features:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
