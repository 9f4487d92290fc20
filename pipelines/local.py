"""One run of the retraining pipeline on this machine: import the catalogue, run the steps through kfp.local, tell the result."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.digests import sha256_json
from goodsight.errors import ERRORS, GoodsightError
from goodsight.files import exclusive, read_json, write_json
from goodsight.settings import settings, silence_telemetry
from lineage import champion, history, record, runs
from lineage.costs import gain_of
from lineage.runs import Run
from pipelines.events import Listener, Story
from pipelines.live import Live, before, check_id, stoppable
from pipelines.reasons import ASKED

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    catalogue: Path | None  # None: the version `revision`, which is kept already
    name: str
    architecture: str = "commercemm"
    size: str = "small"
    seed: int = 17
    policy: str = ""  # YAML text; empty: the policy of this release
    quiet: bool = False
    revision: str = ""
    release: str = "switch"  # or `rollout`: the version waits for `goodsight rollout start`
    runner: str = "process"  # or `docker`: each step in a container of the image that a cluster would run it in
    budget: float = 0.0  # money, in the currency of the table of prices: no step begins once the run has cost it; 0: none
    run_id: str = ""  # empty: a new one; of a run that did not succeed: that one goes on


def run(wanted: Wanted) -> dict[str, Any]:
    """Runs the pipeline and returns the run's result, as `--json` prints it; the ledger has how it ended, whatever happens.

    With a `run_id` that is known, the run that was lost, stopped or failed goes on, as it was asked for then. Raises `InputError`
    when that one has succeeded, `GoodsightError` when a step failed.
    """
    root = settings().root
    _prepare_environment(root)
    with exclusive(root / "run.lock", f"A run in {root}"), stoppable():
        run_id = check_id(wanted.run_id) if wanted.run_id else f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        last = before(run_id, root, settings().ledger_url) if wanted.run_id else None
        os.environ["GOODSIGHT_RUN_ID"] = run_id
        with runs.living(runs.folder(root, run_id)):
            return _run(run_id, _as_before(wanted, last), last, root)


def _run(run_id: str, wanted: Wanted, last: Run | None, root: Path) -> dict[str, Any]:
    place, started = runs.folder(root, run_id), time.monotonic()
    live = Live(run_id, root, asked(wanted), last)
    with Listener(place / "run.log", wanted.quiet, live.heard) as listener, _in_the_ledger(live, listener.story) as ended:
        with contextlib.redirect_stdout(listener):
            ended["revision"] = revision = _revision(wanted, root)
        arguments = _arguments(wanted, revision, root, last)
        live.know(revision=revision, asked={**live.run.asked, "champion": arguments["champion"]})
        outcome = _execute(arguments, place, listener, wanted.runner, live)
        result = _result(run_id, arguments, outcome, root)
        result["seconds"] = round(time.monotonic() - started, 3)
        result["cost"] = {"money": live.run.cost, "currency": live.run.currency}
        write_json(place / "result.json", result)
        _remember(arguments, result, root)
        ended.update(result)
    return result


def asked(wanted: Wanted) -> dict[str, Any]:
    """What the user asked for, as JSON."""
    told = {name: value for name, value in vars(wanted).items() if name not in ("run_id", "quiet")}
    return {**told, "catalogue": str(wanted.catalogue.resolve()) if wanted.catalogue else None}


def _as_before(wanted: Wanted, last: Run | None) -> Wanted:
    """A run that goes on is asked for as it was; data that it has imported are not imported again."""
    if last is None or not last.asked:
        return wanted
    known = {each.name for each in fields(Wanted)}
    told = {name: value for name, value in last.asked.items() if name in known}
    folder = Path(told["catalogue"]) if told.get("catalogue") and not last.revision else None
    more = {"budget": wanted.budget} if wanted.budget else {}
    return replace(wanted, **{**told, **more, "catalogue": folder, "revision": last.revision or told.get("revision", "")})


@contextlib.contextmanager
def _in_the_ledger(live: Live, story: Story) -> Iterator[dict[str, Any]]:
    """Tells the ledger how a run ended, and why, what it cost and what came of it: what is known by then of its result."""
    known: dict[str, Any] = {"revision": live.run.revision}
    state, cause = "SUCCEEDED", ""
    try:
        yield known
    except BaseException as error:
        state = "STOPPED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        cause = error.message if isinstance(error, GoodsightError) else repr(error)
        raise
    finally:
        came = {"data_verdict": known.get("data_verdict"), "verdict": known.get("verdict"), "version": known.get("model_version")}
        try:
            record.run(
                state,
                live.run.run_id,
                known["revision"],
                cause,
                [known.get("snapshot"), known.get("candidate")],
                seconds=round(time.monotonic() - live.begun, 3),
                steps=story.steps,
                cached=[step.name for step in live.run.steps if step.cached],
                started=live.run.started,
                asked=live.run.asked,
                order=[step.name for step in live.run.steps],
                costs=live.costs(),
                failed=live.failed,
                currency=live.run.currency,
                spent=live.run.spent,
                prices=live.meter.prices.digest,
                gain=known.get("gain"),
                **came,
            )
        finally:
            live.ended(state, cause, **came)


def _revision(wanted: Wanted, root: Path) -> str:
    """The version of the data to train on: imported now, or one that is kept."""
    from catalogue.versions import describe, import_version, resolve

    if not wanted.catalogue:
        return resolve(wanted.revision, root)
    revision = import_version(wanted.catalogue, wanted.name, root)
    record.snapshot(describe(revision, root), "import", record.PIPELINE)
    return revision


def _prepare_environment(root: Path) -> None:
    """Steps are child processes: they find home, this run and the threads in their environment."""
    silence_telemetry()
    os.environ["GOODSIGHT_HOME"] = str(root)
    os.environ["GOODSIGHT_RUN_PID"] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(settings().threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall when another process is busy
    os.environ.setdefault("PYTHONWARNINGS", "ignore")


def _arguments(wanted: Wanted, revision: str, root: Path, last: Run | None = None) -> dict[str, Any]:
    """The pipeline's arguments. A run that is asked again is compared with the champion of the first time, so it hits the cache."""
    arguments: dict[str, Any] = {
        "revision": revision,
        "architecture": wanted.architecture,
        "size": wanted.size,
        "seed": wanted.seed,
        "max_quarantined": settings().max_quarantined,
        "policy": wanted.policy,
        "overrides": _overrides(),
        "release": wanted.release,
    }
    now = champion.current()
    version = now.version if now else ""
    memory = _memory(arguments, root)
    if memory.exists():
        known = read_json(memory)
        if known["model_version"] == version:
            version = known["champion"]
    if last is not None and version and version in _registered_since(last.started):
        version = last.asked.get("champion", version)
    return {**arguments, "champion": version}


def _registered_since(time: str) -> set[str]:
    """Versions that were registered since a run began: its own, for no other one runs in this home."""
    told = history.of_kind(settings().ledger_url, "registration").events
    return {event.payload["version"] for event in told if event.time >= time}


def _overrides() -> str:
    """The digest of the overrides in force: another set is another verdict."""
    from lineage.ledger import Ledger
    from lineage.overrides import digest, in_force

    return digest(in_force(Ledger(settings().ledger_url), datetime.now(UTC)))


def _memory(arguments: dict[str, Any], root: Path) -> Path:
    from pipelines.retrain import CODE

    asked = {name: value for name, value in arguments.items() if name != "champion"}
    return root / "runs" / "asked" / f"{sha256_json([asked, CODE])}.json"


def _remember(arguments: dict[str, Any], result: dict[str, Any], root: Path) -> None:
    write_json(_memory(arguments, root), {"champion": arguments["champion"], "model_version": result["model_version"] or ""})


@dataclass
class Outcome:
    """What a run left behind: the cache with its hits, the story of the steps, the wall time of each."""

    hits: list[str]
    ran: dict[str, float]
    peak_rss_bytes: int
    outputs: dict[str, dict[str, Any]]


def _execute(arguments: dict[str, Any], folder: Path, listener: Listener, runner: str, live: Live) -> Outcome:
    from kfp import local

    from pipelines.cache import install
    from pipelines.retrain import retrain
    from pipelines.runners import end, runner_of

    root = settings().root
    local.init(runner_of(runner, folder), pipeline_root=str(root / "pipeline"), workspace_root=str(folder / "workspace"))
    cache = install(root / "cache", folder / ASKED)
    cache.on_hit, cache.on_miss = live.cached, live.missed
    logging.getLogger().setLevel(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(listener):
        warnings.simplefilter("ignore")
        try:
            _on_this_machine(retrain)(**arguments)
        except RuntimeError as error:
            raise live.refused or _explained(listener.story.error, error, folder) from error
        finally:
            end(runner)
    story = listener.story
    return Outcome(cache.hits, story.steps, story.peak_rss_bytes, cache.outputs)


def _on_this_machine(pipeline: GraphComponent) -> GraphComponent:
    """What is asked for is named already, so it may come from the cache; and a step that failed is not tried again, but told."""
    spec = pipeline.pipeline_spec
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for name, task in dag.tasks.items():
            task.ClearField("retry_policy")
            if name == "resolve-component":
                task.caching_options.enable_cache = True
    return pipeline


def _explained(event: dict[str, str] | None, error: RuntimeError, folder: Path) -> GoodsightError:
    """The error of the step that failed, as it was raised there."""
    log = folder / "run.log"
    if event is None:
        return GoodsightError(f"A step of the pipeline failed: {error}", f"The whole output is in {log}.")
    kind = ERRORS.get(event["type"], GoodsightError)
    return kind(f"The step {event['name']} failed. {event['message']}", event["hint"] or f"The whole output is in {log}.")


def _result(run_id: str, arguments: dict[str, Any], outcome: Outcome, root: Path) -> dict[str, Any]:
    verdict = _json(outcome, "validate", "report", "verdict.json")
    figures = _json(outcome, "evaluate", "evaluation", "metrics.json") or {"metrics": {}, "baselines": {}}
    judged = _json(outcome, "gate", "verdict")
    deployed = _json(outcome, "deploy", "deployment")
    hits = [name for name in outcome.hits if name not in outcome.ran]
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "run_id": run_id,
        "snapshot": verdict["digest"],
        "candidate": figures.get("candidate"),
        "revision": arguments["revision"],
        "architecture": arguments["architecture"],
        "data_verdict": verdict["decision"],
        "data_reason": verdict["reason"],
        "products": verdict["kept"],
        "quarantined": verdict["quarantined"],
        "metrics": figures["metrics"],
        "baselines": figures["baselines"],
        "verdict": judged["decision"] if judged else None,
        "gain": gain_of(judged) if judged else None,
        "model_version": deployed["version"] if deployed else None,
        "champion": now.version if (now := champion.current()) else None,
        "endpoint": deployed["endpoint"] if deployed else None,
        "peak_rss_bytes": max(outcome.peak_rss_bytes, children, own),
        "steps": [{"name": name, "cached": False, "seconds": seconds} for name, seconds in outcome.ran.items() if name != "finish"]
        + [{"name": name, "cached": True, "seconds": 0.0} for name in hits],
        "paths": _paths(outcome, root),
    }


def _artifact(outcome: Outcome, step: str, name: str) -> Path | None:
    found = outcome.outputs.get(step, {}).get(name)
    return Path(found.path) if found is not None else None


def _json(outcome: Outcome, step: str, name: str, inside: str = "") -> Any:
    path = _artifact(outcome, step, name)
    return read_json(path / inside if inside else path) if path else None


def _paths(outcome: Outcome, root: Path) -> dict[str, str]:
    """Where to look: data docs, quarantine, plots, verdict."""
    wanted = {
        "data_docs": ("validate", "report"),
        "quarantine": ("validate", "quarantine"),
        "plots": ("evaluate", "plots"),
        "verdict": ("gate", "verdict"),
    }
    found = {label: _artifact(outcome, *place) for label, place in wanted.items()}
    paths = {label: str(path) for label, path in found.items() if path}
    if "data_docs" in paths:
        paths["data_docs"] += "/index.html"
    return {**paths, "home": str(root)}
