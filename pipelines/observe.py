"""Everything that a decision needs, looked up: ledger, versions of the data, runs, traffic, feedback.

What cannot be seen is told as unknown and ends no look: a trigger that needs it does not fire, and without champion, data, runs or rollout
nothing starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from goodsight.digests import code_digest, sha256_json
from goodsight.errors import GoodsightError, InputError
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage import history
from lineage.event import Event
from monitoring import observation
from monitoring.observation import Champion, Change, Data, Observation, Rate, Request, Run, Window, rejected, shape_of
from monitoring.policy import MANUAL, Decay, Drift, RetrainingPolicy
from pipelines import decisions
from pipelines.platforms import Platform

MADE_BY = ("validate", "features", "pretrain", "finetune")  # the steps that a model comes of
RATES = {"category_accuracy": ("correct", "judged"), "click_rate": ("clicked", "searches")}
WINDOWS = 4  # of drift that are kept beside a decision, at least
RUNS = 12  # that are looked at, at least
VERSIONS = 8  # of the data
HOUR = 3600.0
T = TypeVar("T")
Drifted = tuple[tuple[Window, ...], dict[str, Any] | None]


@dataclass
class Look:
    """One look: what was known before it, and what cannot be seen."""

    policy: RetrainingPolicy
    root: Path
    now: datetime
    before: Observation | None
    unknown: dict[str, str]

    def at(self, part: str, see: Callable[[], T], otherwise: Any) -> T:
        """What `see` gives, or `otherwise` and the reason among the unknown."""
        try:
            return see()
        except Exception as error:  # whatever it was, the other parts are seen, and this one is told
            self.unknown[part] = error.message if isinstance(error, GoodsightError) else f"{type(error).__name__}: {error}"
            kept: T = otherwise
            return kept


def observe(policy: RetrainingPolicy, platform: Platform, now: datetime, request: Request | None = None) -> Observation:
    """What is seen at `now`. Raises `GoodsightError` when the ledger's decisions cannot be read."""
    url = settings().ledger_url
    last = decisions.newest(url)
    told = decisions.observed(url, last)
    before = Observation.of(told) if told else None
    look = Look(policy, settings().root, now, before, {})
    started = decisions.starts(url)
    makers: dict[str, str] = look.at(observation.MAKERS, lambda: _makers(policy), {})
    runs: tuple[Run, ...] = look.at(observation.RUNS, lambda: _runs(look, platform, started), ())
    champion = look.at(observation.CHAMPION, lambda: _champion(look, makers, runs), None)
    data: tuple[Data, ...] = look.at(observation.DATA, lambda: _data(look, champion, rejected(runs, champion)), ())
    unmeasured: Drifted = (before.drift if before else (), None)
    windows, report = look.at(observation.DRIFT, lambda: _drift(look, champion), unmeasured)
    rates: tuple[Rate, ...] = look.at(observation.RATES, lambda: _rates(look, champion), ())
    rollout = look.at(observation.ROLLOUT, lambda: _rollout(look), "")
    return Observation(
        now=now,
        sequence=last.seq if last else 0,
        report=report,
        previous=_previous(last, before),
        first=(before.first if before else None) or now,
        champion=champion,
        data=data,
        drift=windows,
        rates=rates,
        runs=runs,
        started=decisions.start_of(started),
        makers=makers,
        request=request or _open_request(last, before),
        rollout=rollout,
        since=_since(last),
        unknown=look.unknown,
    )


def _previous(last: Event | None, before: Observation | None) -> datetime | None:
    """The look after which people were told the last time; a person's wish that was left to the controller told nobody."""
    if last is None or before is None:
        return None
    left = any(each["name"] == decisions.LEADER for each in last.payload["constraints"])
    return before.previous if left else before.now


def _since(last: Event | None) -> dict[str, datetime]:
    """The triggers that fired at the decision before, and since when."""
    told = last.payload["triggers"] if last else []
    return {each["name"]: datetime.fromisoformat(each["since"]) for each in told if each["fired"] and each["since"]}


def _open_request(last: Event | None, before: Observation | None) -> Request | None:
    """A person's wish that was held back at the decision before."""
    asked = last and any(each["name"] == MANUAL and each["fired"] for each in last.payload["triggers"])
    answered = last and last.payload["decision"] == "start" and any(each["name"] == MANUAL for each in last.payload["triggers"])
    return before.request if before and asked and not answered else None


@lru_cache(maxsize=1)
def code_of_steps() -> str:
    """Digest of the code that makes a model; a process keeps the code that it has imported, so it is computed once."""
    return sha256_json({name: code_digest(f"components.steps.{name}") for name in MADE_BY})


def _makers(policy: RetrainingPolicy) -> dict[str, str]:
    """Digests of the steps' code, which is that of this release, and of the weights that a run would start from."""
    from dataclasses import asdict

    from lineage.environment import towers
    from models.config import model_config

    config = asdict(model_config(policy.run.architecture, policy.run.size))
    return {"code": code_of_steps(), "towers": sha256_json({tower.name: tower.weights for tower in towers(config)})}


def _champion(look: Look, makers: dict[str, str], runs: tuple[Run, ...]) -> Champion | None:
    """From the ledger alone. What made it is told by its run, else by the first look that saw it."""
    moves = history.of_kind(settings().ledger_url, "alias_move").events
    if not moves:
        return None
    move = moves[-1]
    version, candidate = move.payload["version"], move.subjects[0]
    revision = history.learned_from(settings().ledger_url, candidate)
    known = look.before.champion if look.before else None
    if known and known.version == version and known.makers:
        makers = known.makers
    else:
        mine = [run for run in runs if run.revision == revision and run.verdict == "promote" and run.makers]
        makers = mine[-1].makers if mine else makers
    return Champion(version, candidate, datetime.fromisoformat(move.time), revision, makers)


def _data(look: Look, champion: Champion | None, tried: Run | None) -> tuple[Data, ...]:
    """The versions of the catalogue from the champion's on, oldest first; `tried` is the newest run that was rejected."""
    from catalogue.data_repo import history as imports
    from catalogue.data_repo import name_of, root_of
    from catalogue.versions import describe

    told = imports(root_of(look.root))
    name = look.policy.catalogue or (name_of(champion.revision) if champion else name_of(told[-1][1]) if told else "")
    mine = [(time, tag) for time, tag in told if name_of(tag) == name]
    begin = max((place for place, (_, tag) in enumerate(mine) if champion and tag == champion.revision), default=0)
    newest = {tag: time for time, tag in [*mine[begin : begin + 1], *mine[begin + 1 :][-VERSIONS:]]}  # that came again: from then on
    refusals = _refusals()
    found = []
    for tag, time in sorted(newest.items(), key=lambda each: each[1]):
        digest = describe(tag, look.root)["digest"]
        if tag == (champion and champion.revision):
            found.append(Data(tag, digest, time, 0.0))
        elif digest in refusals:
            found.append(Data(tag, digest, time, 0.0, refused=refusals[digest]))
        else:
            kept = champion if champion and champion.revision in {each for _, each in mine} else None
            found.append(_newer(look.root, kept, Data(tag, digest, time, 1.0)))
    place = {tag: number for number, (_, tag) in enumerate(mine)}  # two may have come in one second
    fit = [number for number, each in enumerate(found) if not each.refused]
    if fit and tried and place.get(tried.revision, len(mine)) < place[found[fit[-1]].revision]:
        found[fit[-1]] = _since_rejected(look, tried.revision, found[fit[-1]])
    return tuple(found)


def _since_rejected(look: Look, revision: str, data: Data) -> Data:
    """A version with what it changes beside a rejected run's. What cannot be compared holds nothing back, and is told as unknown."""
    return replace(data, since_rejected=look.at("rejection", lambda: Change(revision, *change(look.root, revision, data.revision)), None))


def _newer(root: Path, champion: Champion | None, data: Data) -> Data:
    """A version with what it changes: all, where no champion or not its data are left. One that cannot be read is as good as refused."""
    if champion is None:
        return data
    try:
        changed, new = change(root, champion.revision, data.revision)
    except Exception as error:  # of ours, of DVC's or of pyarrow's
        why = error.message if isinstance(error, GoodsightError) else str(error)
        return replace(data, changed=0.0, refused=f"It cannot be read: {why}")
    return replace(data, changed=changed, new_categories=new)


def _refusals() -> dict[str, str]:
    """Digest of a snapshot -> why the last validation of it said no."""
    found: dict[str, str] = {}
    for event in history.of_kind(settings().ledger_url, "validation").events:
        told = event.payload
        if told["decision"] == "passed":
            found.pop(told["raw_digest"], None)
        else:
            found[told["raw_digest"]] = told["reason"]
    return found


def change(root: Path, before: str, after: str) -> tuple[float, int]:
    """Share of the products of both versions that are new, changed or gone, and the number of new categories. Kept once known."""
    from catalogue.diff import diff
    from catalogue.versions import opened

    kept = root / "monitoring" / "changes" / f"{before}..{after}.json"
    if not kept.exists():
        with opened(before, root) as (old, _), opened(after, root) as (new, _):
            found = diff(old, new, shown=0)
        products = found.products
        touched, total = products.added + products.removed + products.changed, products.before + products.added
        new_categories = sum(1 for _, count, _ in found.categories.counts if count == 0)
        write_json(kept, {"changed": round(touched / total, 6) if total else 0.0, "new_categories": new_categories})
    told = read_json(kept)
    return told["changed"], told["new_categories"]


def _runs(look: Look, platform: Platform, started: list[Event]) -> tuple[Run, ...]:
    """The newest runs that home and the ledger tell of, with what the platform says of those without an end; oldest first.

    All of the last 24 hours are among them, which the budget counts, and the one that was decided last, which is lost if it is not.
    """
    from lineage.runs import list_runs

    makers = {event.payload["run_id"]: _seen_makers(event) for event in started}
    decided = {event.payload["run_id"]: event.payload["asked"] for event in started}
    last = started[-1].payload["run_id"] if started else ""
    found, listed = {}, list_runs(look.root, settings().ledger_url)
    for place, each in enumerate(listed):
        of_today = look.now - datetime.fromisoformat(each.since or each.started) < timedelta(days=1)
        if place < RUNS or of_today or each.live or each.run_id == last:
            told = replace(each, asked=each.asked or decided.get(each.run_id, {}))  # a run on a cluster does not tell itself
            found[each.run_id] = _run(told, makers.get(each.run_id, {}))
    names = {each.kubeflow: each.run_id for each in listed if each.kubeflow}
    known = {each.run_id for each in listed}
    for going in platform.going():
        name = names.get(going.kubeflow, going.run_id)
        run = found.get(name)
        if name not in known:
            found[name] = Run(name, going.state, going.began or look.now, None, "", makers=makers.get(name, {}))
        elif run and (run.state in ("RUNNING", "LOST") or (run.state, going.state) == ("STOPPED", "RUNNING")):
            found[name] = replace(run, state=going.state)  # STOPPED: a person took it for lost
    return tuple(sorted(found.values(), key=lambda run: run.started))


def _seen_makers(event: Event) -> dict[str, str]:
    """What a decided run is made with, by the observation that stands with its decision."""
    told = decisions.observed(settings().ledger_url, event)
    return told["makers"] if told else {}


def _run(run: Any, makers: dict[str, str]) -> Run:
    """A run of `lineage.runs` as decisions need it."""
    cpu = [step.cpu_seconds for step in run.steps if step.cpu_seconds is not None]
    gpu = [step.gpu_seconds for step in run.steps if step.gpu_seconds is not None]
    return Run(
        run_id=run.run_id,
        state=run.state,
        started=datetime.fromisoformat(run.since or run.started),
        ended=datetime.fromisoformat(run.ended) if run.ended else None,
        revision=run.revision or str(run.asked.get("revision") or ""),
        shape=shape_of(run.asked) if run.asked.get("architecture") else "",
        makers=makers,
        verdict=run.verdict or "",
        data_verdict=run.data_verdict or "",
        cause=run.cause,
        cpu_hours=sum(cpu) / HOUR if cpu else None,
        gpu_hours=sum(gpu) / HOUR if gpu else None,
        money=run.cost,
    )


def _drift(look: Look, champion: Champion | None) -> Drifted:
    """The windows so far, and one more with its report when the newest is old enough."""
    known = tuple(each for each in (look.before.drift if look.before else ()) if champion and each.version == champion.version)
    wanted = any(isinstance(each, Drift) for each in look.policy.triggers.values())
    if champion is None or not wanted:
        return known, None
    if known and look.now - known[-1].until < timedelta(hours=look.policy.drift.hours_between):
        return known, None
    report = _report(look, champion)
    if report["state"] not in ("compared", "learning"):
        return known, report
    return (*known, Window.of(report, look.now))[-max(WINDOWS, look.policy.drift.consecutive) :], report


def _report(look: Look, champion: Champion) -> dict[str, Any]:
    """What differs now from what the champion was made for."""
    from monitoring import windows
    from pipelines.reference import reference_of
    from serving.reference import read_reference

    reference = read_reference(reference_of(champion.version, look.root))
    if reference is None:
        raise GoodsightError(f"The reference of version {champion.version} is not whole.", "It is made again at the next look.")
    now = windows.Champion(champion.version, champion.since)
    told: dict[str, Any] = windows.report(settings().predictions_url, now, reference, look.now, look.policy.drift).to_json()
    return told


def _rates(look: Look, champion: Champion | None) -> tuple[Rate, ...]:
    """The rates that the policy asks for, of the last days and of the champion's first."""
    from lineage import feedback

    wanted = [name for each in look.policy.triggers.values() if isinstance(each, Decay) for name in each.rates]
    if unknown := set(wanted) - RATES.keys():
        raise InputError(f"There is no rate {unknown.pop()!r}.", f"There are {', '.join(RATES)}.")
    if champion is None or not wanted:
        return ()
    learned = champion.since + timedelta(days=look.policy.rates.reference_days)
    since = max(learned, look.now - timedelta(days=look.policy.rates.days))
    if since >= look.now:
        return ()
    url, version = settings().predictions_url, champion.version
    names = {part for name in wanted for part in RATES[name]}
    first = feedback.figures(url, champion.since, learned, version, names)
    last = feedback.figures(url, since, look.now, version, names)
    rates = ((name, *RATES[name]) for name in dict.fromkeys(wanted))
    return tuple(Rate(name, int(last[part]), int(last[all_]), int(first[part]), int(first[all_])) for name, part, all_ in rates)


def _rollout(look: Look) -> str:
    """The version that comes in beside the champion."""
    from serving.rollout import read

    found = read(look.root)
    return found.version if found and found.running else ""
