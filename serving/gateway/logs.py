"""The log of the gateway: one line of JSON a request, without anything of what was asked, and every failure with its traceback.

It is `serving/gateway.log` under home, rotated; `GOODSIGHT_GATEWAY_LOG` names another file, or `-` for standard error. A thread writes.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lineage.predictions import now

BYTES, FILES = 5 * 2**20, 3
LOGGER = logging.getLogger("serving.gateway")
STANDARD_ERROR = "-"


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {"time": now(), "level": record.levelname.lower(), "message": record.getMessage()}
        told |= getattr(record, "told", {})
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class _Queued(QueueHandler):
    """Hands records over as they are: the listener is in this process."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


@contextmanager
def kept(place: str) -> Iterator[None]:
    """Inside, the gateway's log goes to a file or to standard error."""
    handler = logging.StreamHandler(sys.stderr) if place == STANDARD_ERROR else _file(Path(place))
    handler.setFormatter(_Line())
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    listener, queued = QueueListener(queue, handler), _Queued(queue)
    LOGGER.addHandler(queued)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        LOGGER.removeHandler(queued)
        LOGGER.propagate = True
        handler.close()


def _file(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    return RotatingFileHandler(path, maxBytes=BYTES, backupCount=FILES - 1, encoding="utf-8")


def request(told: dict[str, Any]) -> None:
    """Logs one request."""
    LOGGER.info("request", extra={"told": told})


def failure(request_id: str, error: Exception) -> None:
    """Logs a failure of ours."""
    LOGGER.error("failure", exc_info=error, extra={"told": {"request_id": request_id}})
