"""`goodsight watch`: the controller that retrains when the policy says so, one look of it, a person's wish, and what would have been."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodsight.errors import InputError
from pipelines.options import By, Home, Json, home_of, login, print_json

if TYPE_CHECKING:
    from monitoring.decision import Decision
    from pipelines.watch import Controller

PATIENCE = 45.0  # seconds that one look waits for the lead of a controller that died on another machine


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once, start what is due, wait for a run of this machine, end.")] = False,
    now: Annotated[str, typer.Option(metavar="REASON", help="Ask for a run now, and say why.")] = "",
    policy: Annotated[Path | None, typer.Option(help="The retraining policy (default: monitoring/retraining.yaml).")] = None,
    replay: Annotated[tuple[str, str] | None, typer.Option(metavar="FROM TO", help="What the policy would have done: two dates.")] = None,
    endpoint: Annotated[str, typer.Option(help="URL of Kubeflow Pipelines (default: GOODSIGHT_KFP_ENDPOINT, else this machine).")] = "",
    by: By = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Retrain when the policy says so, until Ctrl-C; every decision and its reasons are in the ledger."""
    from monitoring.policy import POLICY, RetrainingPolicy

    home_of(home)
    if [once, bool(now), replay is not None].count(True) > 1:
        raise InputError("--once, --now and --replay are three commands.", "Give one of them.")
    path = policy or POLICY
    RetrainingPolicy.load(path)
    if replay:
        return _replay(path, *replay, as_json)
    if now:
        return _told(_asked(path, endpoint, login(by), now), as_json)
    if once:
        return _told(_once(path, endpoint), as_json)
    _keep_up(path, endpoint)


def _controller(path: Path, endpoint: str, metrics: Any = None) -> Controller:
    from goodsight.settings import settings
    from monitoring.notify import Notifier
    from pipelines.announce import Announcer
    from pipelines.platforms import platform_of
    from pipelines.watch import Controller

    notifier = Notifier(settings(), metrics.notices if metrics else None)
    return Controller(path, platform_of(endpoint), Announcer(metrics, notifier))


def _once(path: Path, endpoint: str) -> Decision:
    """One look as the controller that leads. Raises `BusyError` when another one leads."""
    from goodsight.settings import settings
    from pipelines.leader import Leadership

    controller = _controller(path, endpoint)
    with Leadership(settings().ledger_url, patience=PATIENCE) as leadership:
        made = controller.look(leads=leadership.take)
        controller.platform.wait()
    return made


def _asked(path: Path, endpoint: str, by: str, reason: str) -> Decision:
    """A person's wish: carried out here when nobody leads, else left to the controller that does."""
    from goodsight.settings import settings
    from monitoring.observation import Request
    from pipelines.leader import Leadership
    from pipelines.watch import instant

    controller, request = _controller(path, endpoint), Request(by, reason, instant())
    leadership = Leadership(settings().ledger_url)
    if not leadership.take():
        return controller.ask(request)
    with leadership:
        made = controller.look(request, leadership.take)
        controller.platform.wait()
    return made


def _told(made: Decision, as_json: bool) -> None:
    if as_json:
        return print_json({name: value for name, value in made.to_json().items() if name != "observed"})
    typer.echo(f"{made.decision}: {made.reason}")
    told = [(each.fired, each.name, each.explanation) for each in made.triggers]
    told += [(each.holds, each.name, each.explanation) for each in made.constraints]
    for stands, name, explanation in told:
        typer.echo(f"  {'*' if stands else ' '} {name}: {explanation}")
    if made.run_id:
        typer.echo(f"See it with: goodsight runs show {made.run_id}")


def _keep_up(path: Path, endpoint: str) -> None:
    from goodsight.settings import settings
    from monitoring.metrics import Metrics, served
    from pipelines.leader import Leadership
    from pipelines.watch import Loop

    metrics, stop = Metrics(), threading.Event()
    controller = _controller(path, endpoint, metrics)
    with _stopped_by_signals(stop), served(metrics, settings().watch_host, settings().watch_port) as port:
        typer.echo(f"Metrics are at http://{settings().watch_host}:{port}/metrics")
        leadership = Leadership(settings().ledger_url)
        try:
            Loop(controller, leadership, typer.echo, stop).run()
        finally:
            leadership.leave()


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the loop after what it does; its run is lost then, and goes on when a controller is back."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _replay(path: Path, since: str, until: str, as_json: bool) -> None:
    from pipelines.replay import replay, table

    told = replay(path, since, until)
    print_json(told) if as_json else table(told)
