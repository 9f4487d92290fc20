"""The model interface of a running TorchServe: register a version, make it the default, drain it, unregister it."""

from __future__ import annotations

from typing import Any

import httpx
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.errors import GoodsightError
from serving.archive import version_of
from serving.running import ANSWER_SECONDS, LOG, MODEL, Running

BATCH_SIZE = 8
BATCH_DELAY_MS = 1  # a batch is what queued up while the worker was busy; waiting longer only delays a lone request
LOAD_SECONDS = 180
POLL_SECONDS = 0.1


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text[:200]}"


class Management:
    """The management interface of `running`. Every method raises `GoodsightError` when the server refuses."""

    def __init__(self, running: Running) -> None:
        self.running = running
        headers = {"Authorization": f"Bearer {running.key('management')}"}
        url = f"http://127.0.0.1:{running.management_port}"
        self.http = httpx.Client(base_url=url, headers=headers, timeout=LOAD_SECONDS + 10, trust_env=False)

    def _call(self, method: str, path: str, **parameters: str | int) -> Any:
        try:
            response = self.http.request(method, path, params=parameters)
        except httpx.HTTPError as error:
            raise GoodsightError(f"The model server at {self.http.base_url} does not answer: {error}.") from error
        if response.is_error:
            raise GoodsightError(f"The model server refused {method} {path}: {_reason(response)}.")
        return response.json()

    def versions(self) -> dict[str, bool]:
        """The registered versions, and whether each is the default."""
        listed = self._call("GET", "/models")["models"]
        if MODEL not in {item["modelName"] for item in listed}:
            return {}
        default = self._call("GET", f"/models/{MODEL}")[0]["modelVersion"]
        return {item["modelVersion"]: item["modelVersion"] == default for item in self._call("GET", f"/models/{MODEL}/all")}

    def ready_version(self) -> str:
        """The default version, if a worker of it takes requests; empty when none does."""
        listed = self._call("GET", "/models")["models"]
        if MODEL not in {item["modelName"] for item in listed}:
            return ""
        described = self._call("GET", f"/models/{MODEL}")[0]
        return str(described["modelVersion"]) if any(each["status"] == "READY" for each in described["workers"]) else ""

    def register(self, archive: str) -> None:
        """Loads `archive`, a name in the model store, into one worker and returns when the worker is ready.

        The server is asked time and again: if it were told to answer when the worker is ready, it would hold up half of its
        connections, those of predictions too, for as long as the model loads.
        """
        version = version_of(archive)
        parameters: dict[str, str | int] = {
            "url": archive,
            "model_name": MODEL,
            "initial_workers": 1,
            "synchronous": "false",
            "batch_size": BATCH_SIZE,
            "max_batch_delay": BATCH_DELAY_MS,
            "response_timeout": ANSWER_SECONDS,
            "startup_timeout": LOAD_SECONDS,
        }
        try:
            self._call("POST", "/models", **parameters)
            if not self._loaded(version):
                self._call("DELETE", f"/models/{MODEL}/{version}")
                raise GoodsightError("its worker ended, or was not ready in time")
        except GoodsightError as error:
            cause = self.running.last_error() or error.message
            raise GoodsightError(f"{archive} does not load: {cause}", f"The server's log: {self.running.folder}/{LOG}") from error

    def _loaded(self, version: str) -> bool:
        """Waits for the worker of `version`. False when another process takes the place of its first, which so did not load."""
        seen: set[int] = set()  # process ids; 0 or less: there is none yet

        def loaded() -> bool | None:
            workers = self._call("GET", f"/models/{MODEL}/{version}")[0]["workers"]
            seen.update(worker["pid"] for worker in workers if worker["pid"] > 0)
            return True if any(worker["status"] == "READY" for worker in workers) else False if len(seen) > 1 else None

        waiting = Retrying(
            retry=retry_if_result(lambda known: known is None),
            wait=wait_fixed(POLL_SECONDS),
            stop=stop_after_delay(LOAD_SECONDS),
            retry_error_callback=lambda _: False,
        )
        return bool(waiting(loaded))

    def set_default(self, version: str) -> None:
        """Sends the requests that name no version to `version`, at once."""
        self._call("PUT", f"/models/{MODEL}/{version}/set-default")

    def drain(self, version: str) -> None:
        """Returns when the requests that `version` accepted before now are answered.

        One worker answers in the order of arrival, so one last (empty, hence refused) request behind the others tells.
        """
        headers = {"Authorization": f"Bearer {self.running.key('inference')}"}
        url = f"{self.running.url}/predictions/{MODEL}/{version}"
        try:
            httpx.post(url, json={}, headers=headers, timeout=ANSWER_SECONDS + 10, trust_env=False)
        except httpx.HTTPError as error:
            raise GoodsightError(f"Version {version} did not drain: {error}.") from error

    def unregister(self, version: str) -> None:
        """Drains `version` and removes it. TorchServe refuses for the default version while there are others."""
        self.drain(version)
        self._call("DELETE", f"/models/{MODEL}/{version}")
