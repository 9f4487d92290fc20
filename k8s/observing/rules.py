"""Prometheus' rules. Every alert says what people notice, how bad it is (`page`: now, `ticket`: in working hours), and its runbook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monitoring.policy import RetrainingPolicy
from observing.slos import OBJECTIVES, burning, recordings

RUNBOOKS = "https://github.com/goodsight/goodsight/blob/main/docs/platform/runbooks.md"
DAY = 24 * 3600
POLICY = RetrainingPolicy.load()  # the default one: `python k8s/observe.py` once more when it changes
OLDEST = ((POLICY.maximum_age_days or 0) + 5) * DAY  # some days for a run


@dataclass(frozen=True)
class Alert:
    """`lasting` is for how long `expr` is true before somebody is told; `summary` may have `{{ $value }}` and labels."""

    name: str
    expr: str
    lasting: str
    severity: str
    summary: str
    description: str

    def to_json(self) -> dict[str, Any]:
        said = {"summary": self.summary, "description": self.description, "runbook_url": f"{RUNBOOKS}#{self.name.lower()}"}
        made: dict[str, Any] = {"alert": self.name, "expr": self.expr}
        if self.lasting:
            made["for"] = self.lasting
        return {**made, "labels": {"severity": self.severity, "service": "goodsight"}, "annotations": said}


def _burns() -> list[Alert]:
    made = []
    for objective in OBJECTIVES:
        for severity, speed, lasting in (("page", "Fast", "2m"), ("ticket", "Slow", "15m")):
            name, summary = f"Goodsight{objective.title}Burns{speed}", f"{objective.title}: {{{{ $value | humanizePercentage }}}} fail."
            made.append(Alert(name, burning(objective, severity), lasting, severity, summary, f"Promised: {objective.promise}"))
    return made


SERVING = (
    Alert(
        "GoodsightGatewayGone", "absent(goodsight_queue_size)", "5m", "page",
        "No gateway shows metrics.", "Nothing may be answered: no gateway is up, or Prometheus does not reach it.",
    ),
    Alert(
        "GoodsightQueueFull", "sum(rate(goodsight_refused_total[5m])) > 0", "10m", "page",
        "{{ $value | humanize }} requests a second are refused, since the queue is full.",
        "More comes than the model server can answer; callers get 429.",
    ),
    Alert(
        "GoodsightLate", "sum(increase(goodsight_late_total[15m])) > 10", "5m", "ticket",
        "{{ $value | humanize }} requests took longer than they may in 15 minutes.", "They got 504; the model server is slow or stuck.",
    ),
    Alert(
        "GoodsightWorkersLost", "sum(increase(goodsight_sent_again_total[15m])) > 5", "", "ticket",
        "{{ $value | humanize }} requests were sent again in 15 minutes.", "Workers of the model server die, or none is there.",
    ),
)  # fmt: skip

WATCHING = (
    Alert(
        "GoodsightWatchGone", "absent(goodsight_watch_evaluated_timestamp_seconds)", "15m", "ticket",
        "No controller shows metrics.", "Nobody decides whether to retrain; the champion gets older unseen.",
    ),
    Alert(
        "GoodsightTwoLeaders", "sum(goodsight_watch_leader) > 1", "10m", "ticket",
        "{{ $value }} controllers say that they decide.", "The ledger lets one of them start a run; but the lock does not hold.",
    ),
    Alert(
        "GoodsightRunFailed", 'max by (state) (increase(goodsight_runs_total{state=~"FAILED|LOST"}[1h])) > 0', "", "ticket",
        "A retraining ended {{ $labels.state }}.",
        "The champion stays. The controller tries again, later each time, and gives up in the end.",
    ),
    Alert(
        "GoodsightRunLong", f"time() - min(goodsight_run_started_timestamp_seconds) > {DAY}", "15m", "ticket",
        "A retraining goes on for {{ $value | humanizeDuration }}.", "While it goes on no other starts.",
    ),
    Alert(
        "GoodsightRejections", 'max(increase(goodsight_verdicts_total{decision="reject"}[7d])) > 2.5', "", "ticket",
        "The gate rejected {{ $value | humanize }} candidates in 7 days.", "Runs cost and nothing comes of them.",
    ),
    Alert(
        "GoodsightTriggerUnanswered",
        f"max by (trigger) (time() - goodsight_trigger_since_timestamp_seconds) > {7 * DAY}", "1h", "ticket",
        "The trigger {{ $labels.trigger }} fires for {{ $value | humanizeDuration }}, and no run answered it.",
        "A constraint holds, the policy wants another trigger beside it, or runs fail.",
    ),
    Alert(
        "GoodsightChampionOld", f"time() - max(goodsight_champion_since_timestamp_seconds) > {OLDEST:.0f}", "1h", "ticket",
        "The champion is {{ $value | humanizeDuration }} old.",
        "That is more than the default policy's largest age and some days for a run.",
    ),
    Alert(
        "GoodsightBudgetSpent", f"max(increase(goodsight_runs_cost_total[1d])) > {POLICY.budget.money:g}", "", "ticket",
        "Retraining cost {{ $value | humanize }} in a day.", "The default policy's budget of a day is spent.",
    ),
    Alert(
        "GoodsightNoticesWait", "max(goodsight_notices_waiting) > 0", "1h", "ticket",
        "{{ $value }} notices did not reach their targets for an hour.", "People are not told of what they wanted to know.",
    ),
)  # fmt: skip

DATA = (
    Alert(
        "GoodsightDrift", "max by (name, group, slice) (goodsight_drift_drifted) > 0", "6h", "ticket",
        "{{ $labels.name }} ({{ $labels.group }}, {{ $labels.slice }}) is no longer as the champion learned it.",
        "The difference is larger than the policy allows and no chance, for six hours.",
    ),
    Alert(
        "GoodsightDataRefused", "max(goodsight_data_refused) > 0", "", "ticket",
        "The newest data were refused by their checks.", "Nothing is trained on them; the reason is in the report of the validation.",
    ),
    Alert(
        "GoodsightQuarantine", "max(goodsight_data_quarantined_ratio) > 0.1", "", "ticket",
        "{{ $value | humanizePercentage }} of the newest data are in quarantine.", "A supplier sends what cannot be right.",
    ),
    Alert(
        "GoodsightLabelsWorse",
        "max(goodsight_feedback_correct_ratio) < max(goodsight_feedback_correct_ratio offset 7d) - 0.05"
        ' and max(goodsight_feedback_window{of="judged"}) >= 100', "1h", "ticket",
        "By people's word {{ $value | humanizePercentage }} of the answers are right, 5 points fewer than a week ago.",
        "Callers see wrong categories more often.",
    ),
)  # fmt: skip

ALERTS = (*_burns(), *SERVING, *WATCHING, *DATA)


def groups() -> list[dict[str, Any]]:
    """The groups of the rules' file."""
    named = {"slo": _burns(), "serving": SERVING, "watching": WATCHING, "data": DATA}
    made: list[dict[str, Any]] = [{"name": "goodsight-objectives", "interval": "30s", "rules": recordings()}]
    return [*made, *({"name": f"goodsight-{name}", "rules": [alert.to_json() for alert in alerts]} for name, alerts in named.items())]
