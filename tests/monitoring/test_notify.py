"""Notices go to real listeners on this machine: once a key, again to those that failed, and never with an error or a secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import InputError
from goodsight.settings import settings
from monitoring.notify import FIRST_PAUSE, GIVEN_UP, HOUR, Notifier


@dataclass
class Listener:
    """A webhook on this machine, which fails while it is `down`."""

    address: str = ""
    down: bool = False
    came: list[dict[str, Any]] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.came]


@pytest.fixture
def webhook() -> Iterator[Callable[[], Listener]]:
    servers = []

    def make() -> Listener:
        made = Listener()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not made.down:
                    made.came.append(json.loads(body))
                self.send_response(503 if made.down else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        made.address = f"json://user:s3cret@127.0.0.1:{server.server_port}/hook"
        return made

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notifier(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[..., Notifier]:
    def make(*addresses: str, count: Any = None) -> Notifier:
        monkeypatch.setenv("GOODSIGHT_NOTIFY", ",".join(addresses))
        settings.cache_clear()
        return Notifier(settings(), count, clock)

    return make


def test_a_notice_reaches_every_target_and_the_same_key_is_told_once(
    webhook: Callable[[], Listener], notifier: Callable[..., Notifier], clock: Clock
) -> None:
    one, two = webhook(), webhook()
    told = notifier(one.address, two.address)
    assert told.tell("drift:price", "Prices changed", "The median went from 10 to 90.", "warning")
    assert not told.tell("drift:price", "Prices changed", "Again.", "warning")
    assert told.tell("drift:image", "Images changed", "Darker.")
    assert one.titles == two.titles == ["Prices changed", "Images changed"]
    assert one.came[0]["message"] == "The median went from 10 to 90." and one.came[0]["type"] == "warning"
    clock.now += 13 * HOUR
    assert told.tell("drift:price", "Prices changed still", "")
    assert one.titles[-1] == "Prices changed still"


def test_another_process_knows_what_was_told(webhook: Callable[[], Listener], notifier: Callable[..., Notifier]) -> None:
    one = webhook()
    notifier(one.address).tell("run:1", "A run failed", "The disk is full.", "failure")
    assert not notifier(one.address).tell("run:1", "A run failed", "The disk is full.", "failure") and len(one.came) == 1


def test_a_target_that_fails_is_tried_again_later_and_later_also_by_another_process(
    webhook: Callable[[], Listener], notifier: Callable[..., Notifier], clock: Clock
) -> None:
    good, bad, results = webhook(), webhook(), []
    bad.down = True
    told = notifier(good.address, bad.address, count=lambda result, waiting: results.append((result, waiting)))
    assert told.tell("k", "Title", "Body")
    told.again()  # its pause is not over
    assert results == [("sent", 0), ("failed", 1)]
    clock.now += FIRST_PAUSE
    told.again()
    clock.now += FIRST_PAUSE  # the second pause is longer
    told.again()
    assert results[2:] == [("failed", 1)]
    bad.down = False
    clock.now += HOUR
    notifier(good.address, bad.address).again()
    assert good.titles == bad.titles == ["Title"]
    told.again()
    assert bad.titles == ["Title"]


def test_a_target_that_never_comes_back_is_given_up(
    webhook: Callable[[], Listener], notifier: Callable[..., Notifier], clock: Clock
) -> None:
    bad, results = webhook(), []
    bad.down = True
    told = notifier(bad.address, count=lambda result, waiting: results.append((result, waiting)))
    told.tell("k", "Title", "Body")
    clock.now += GIVEN_UP + 1
    told.again()
    assert results[-1] == ("dropped", 0)


def test_nobody_is_told_without_an_address_and_the_key_counts_as_told(notifier: Callable[..., Notifier]) -> None:
    told = notifier()
    assert told.tell("k", "Title", "Body") and not told.tell("k", "Title", "Body")


def test_a_disk_that_takes_nothing_stops_no_notice(
    webhook: Callable[[], Listener], notifier: Callable[..., Notifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: Any) -> None:
        raise OSError(28, "No space left on device")

    one = webhook()
    told = notifier(one.address)
    monkeypatch.setattr("monitoring.notify.write_json", full)
    assert told.tell("a", "A", "") and told.tell("b", "B", "") and not told.tell("a", "A", "")
    assert one.titles == ["A", "B"]


def test_addresses_stay_secret(
    webhook: Callable[[], Listener], notifier: Callable[..., Notifier], caplog: pytest.LogCaptureFixture
) -> None:
    bad = webhook()
    bad.down = True
    notifier(bad.address).tell("k", "Title", "Body")
    kept = [path.read_text() for path in settings().root.rglob("*") if path.is_file()]
    assert any("Title" in text for text in kept) and not any("s3cret" in text for text in (*kept, caplog.text, repr(settings())))


def test_an_address_that_is_none_is_refused_without_being_shown(notifier: Callable[..., Notifier]) -> None:
    with pytest.raises(InputError) as refused:
        notifier("json://127.0.0.1:1/a", "nonsense://token@host")
    assert "Address 2" in refused.value.message and "token" not in str(refused.value)
