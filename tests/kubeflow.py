"""Kubeflow Pipelines on a local port, as far as our commands speak to it: experiments, runs and recurring runs of its API v2beta1."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

TOKEN = "a-token-of-kubeflow-that-nobody-may-print"
PATH = re.compile(r"^/apis/v2beta1/(healthz|experiments|runs|recurringruns)(?:/([\w-]+))?(?::(terminate))?$")
EPOCH = "1970-01-01T00:00:00Z"
PAGE = 2  # recurring runs of a page, whatever is asked for, so that reading on is needed


class Kubeflow:
    """What the server holds; the test moves runs on with `step`."""

    def __init__(self, several_users: bool = False) -> None:
        self.several_users = several_users
        self.experiments: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.faults: list[int] = []
        self._made = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def step(self, run: str, name: str, state: str, seconds: float | None = None, error: str = "") -> None:
        """Sets the state of a task of a run; without `seconds` it has not ended."""
        began = datetime(2026, 11, 2, 3, len(self.runs[run]["run_details"]["task_details"]), tzinfo=UTC)
        ended = EPOCH if seconds is None else (began + timedelta(seconds=seconds)).isoformat()
        task = {"task_id": name, "display_name": name, "state": state, "start_time": began.isoformat(), "end_time": ended}
        if error:
            task["error"] = {"code": 2, "message": error}  # type: ignore[assignment]
        details = self.runs[run]["run_details"]["task_details"]
        details[:] = [each for each in details if each["task_id"] != name] + [task]

    def next_id(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"

    def experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {**body, "experiment_id": self.next_id("experiment")}
        self.experiments.append(made)
        return made

    def run(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {**body, "run_id": self.next_id("run"), "state": "PENDING", "run_details": {"task_details": []}}
        made["created_at"] = datetime.now(UTC).isoformat()
        self.runs[made["run_id"]] = made
        return made

    def schedule(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {**body, "recurring_run_id": self.next_id("schedule"), "status": "ENABLED"}
        self.recurring[made["recurring_run_id"]] = made
        return made


def _handler(kubeflow: Kubeflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, value: Any, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_one(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            url = urlparse(self.path)
            found = PATH.match(url.path)
            if kubeflow.faults:
                return self.answer({"message": "on purpose"}, kubeflow.faults.pop(0))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer({"message": "who are you"}, 401)
            if not found:
                return self.answer({"message": f"{url.path} not found"}, 404)
            kind, name, verb = found.groups()
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            answer = getattr(self, f"{self.command.lower()}_{kind}")(name, verb, body, query)
            return self.answer(answer, 404 if answer is None else 200)

        do_GET = do_POST = do_DELETE = handle_one

        def get_healthz(self, *_: Any) -> Any:
            return {"multi_user": kubeflow.several_users}

        def get_experiments(self, name: Any, verb: Any, body: Any, query: dict[str, str]) -> Any:
            wanted = json.loads(query["filter"])["predicates"][0]["stringValue"]
            inside = query.get("namespace") or None
            same = [each for each in kubeflow.experiments if (each["display_name"], each.get("namespace") or None) == (wanted, inside)]
            return {"experiments": same}

        def post_experiments(self, name: Any, verb: Any, body: dict[str, Any], query: Any) -> Any:
            return kubeflow.experiment(body)

        def get_runs(self, name: str | None, verb: Any, body: Any, query: dict[str, str]) -> Any:
            if name:
                return kubeflow.runs.get(name)
            wanted = json.loads(query["filter"])["predicates"][0]["stringValue"] if query.get("filter") else None
            inside = [each for each in kubeflow.runs.values() if each["experiment_id"] == query["experiment_id"]]
            return {"runs": [each for each in reversed(inside) if wanted in (None, each["display_name"])]}

        def post_runs(self, name: str | None, verb: str | None, body: dict[str, Any], query: Any) -> Any:
            if verb == "terminate":
                if name in kubeflow.runs:
                    kubeflow.runs[name]["state"] = "CANCELING"
                    return {}
                return None
            return kubeflow.run(body)

        def get_recurringruns(self, name: Any, verb: Any, body: Any, query: dict[str, str]) -> Any:
            inside = [each for each in kubeflow.recurring.values() if each["experiment_id"] == query["experiment_id"]]
            begin = int(query.get("page_token") or 0)
            more = str(begin + PAGE) if begin + PAGE < len(inside) else ""
            return {"recurringRuns": inside[begin : begin + PAGE], "next_page_token": more, "total_size": len(inside)}

        def post_recurringruns(self, name: Any, verb: Any, body: dict[str, Any], query: Any) -> Any:
            return kubeflow.schedule(body)

        def delete_recurringruns(self, name: str, *_: Any) -> Any:
            return {} if kubeflow.recurring.pop(name, None) else None

    return Handler


@contextlib.contextmanager
def kubeflow_pipelines(several_users: bool = False) -> Iterator[Kubeflow]:
    """A server that is gone afterwards."""
    kubeflow = Kubeflow(several_users)
    try:
        yield kubeflow
    finally:
        kubeflow.close()
