"""An opt-in sample of what was asked: `<home>/inputs/<digest>.json`, under the digest that the prediction log has of the input.

A share of 0.01 keeps the inputs of every hundredth digest, so the same request is kept always or never. A file holds the request
as `serving.request.parse` takes it. A request hands it over and goes on; what finds the queue full is not kept. Only the owner may
read the files.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from pathlib import Path
from queue import Full, Queue

from goodsight.files import write_bytes

WAITING = 16  # inputs in memory, each as large as a request may be
MOST = 10_000  # files


def folder(home: Path) -> Path:
    """Where the sample of `home` lies."""
    return home / "inputs"


class InputSample:
    """Keeps the `share` (0 to 1) of inputs in `folder`, at most `MOST` of them."""

    def __init__(self, folder: Path, share: float) -> None:
        self.folder, self.share = folder, share
        self._waiting: Queue[tuple[str, bytes, str] | threading.Event] = Queue(WAITING)
        if share:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            threading.Thread(target=self._write_for_ever, name="input-sample", daemon=True).start()

    def offer(self, digest: str, body: bytes, content_type: str) -> None:
        """Keeps the body of the request `digest` if it belongs to the sample, soon."""
        if int(digest[:8], 16) < self.share * 2**32:
            try:
                self._waiting.put_nowait((digest, body, content_type))
            except Full:
                return

    def flush(self, timeout: float = 10.0) -> bool:
        """Waits until what was offered is written; False when that took longer than `timeout` seconds."""
        written = threading.Event()
        if self.share:
            self._waiting.put(written, timeout=timeout)
            return written.wait(timeout)
        return True

    def _write_for_ever(self) -> None:
        kept = sum(1 for _ in self.folder.glob("*.json"))
        while True:
            taken = self._waiting.get()
            if isinstance(taken, threading.Event):
                taken.set()
                continue
            path = self.folder / f"{taken[0]}.json"
            if kept < MOST and not path.exists():
                try:
                    write_bytes(path, _as_json(*taken[1:]), 0o600)
                    kept += 1
                except OSError as error:  # a full disk costs the sample, never an answer
                    logging.getLogger(__name__).warning("an input was not kept: %s", error)


def _as_json(body: bytes, content_type: str) -> bytes:
    if content_type.startswith("image/"):
        return json.dumps({"task": "categorize", "image": base64.b64encode(body).decode()}).encode()
    return body
