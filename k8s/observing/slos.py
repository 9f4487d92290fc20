"""What is promised of the platform in 30 days, and alerts on how fast that budget of failures burns, over a long and a short window.

The short window ends an alert soon after its reason ended; the long one keeps a moment's trouble from being an alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DAYS = 30
ASKED = '/v1/(categorize|search|embed|recommend|explain)|/v1/products/.*similar|/v2/.*infer'  # routes that ask the model
QUICK = '/v1/(categorize|search|embed|recommend)|/v1/products/.*similar'  # a heat-map takes a second, and v2 has whole batches
QUICK_SECONDS = "0.5"
LATE_SECONDS = 45 * 60  # three looks of the controller at the default policy
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", f"{DAYS}d")


@dataclass(frozen=True)
class Burn:
    """So many times as fast as the budget lasts, seen in both windows: `severity` says who is told."""

    severity: str
    factor: float
    long: str
    short: str


BURNS = (Burn("page", 14.4, "1h", "5m"), Burn("page", 6, "6h", "30m"), Burn("ticket", 3, "1d", "2h"), Burn("ticket", 1, "3d", "6h"))


@dataclass(frozen=True)
class Objective:
    """`share` of what counts is to be good; `ratio` is PromQL for the share that is not, `{window}` in it the window."""

    name: str
    title: str
    share: float
    ratio: str
    promise: str

    @property
    def budget(self) -> float:
        return round(1 - self.share, 6)

    def recorded(self, window: str) -> str:
        return f"goodsight:{self.name}_failures:ratio_{window}"


OBJECTIVES = (
    Objective(
        "availability", "Availability", 0.999,
        f'(sum(rate(goodsight_requests_total{{route=~"{ASKED}",status=~"5.."}}[{{window}}])) or vector(0))'
        f' / sum(rate(goodsight_requests_total{{route=~"{ASKED}",status!="0"}}[{{window}}]))',
        "99.9 % of the requests that ask the model get an answer that is no 5xx.",
    ),
    Objective(
        "latency", "Latency", 0.99,
        f'1 - sum(rate(goodsight_request_seconds_bucket{{route=~"{QUICK}",le="{QUICK_SECONDS}"}}[{{window}}]))'
        f' / sum(rate(goodsight_request_seconds_count{{route=~"{QUICK}"}}[{{window}}]))',
        "99 % of the requests to categorize, search, embed or recommend take half a second at most.",
    ),
    Objective(
        "decisions", "Decisions", 0.99,
        "avg_over_time(goodsight:decision_late:bool[{window}])",
        "99 % of the time the newest decision on retraining is younger than 45 minutes.",
    ),
)  # fmt: skip


def recordings() -> list[dict[str, Any]]:
    """The share of failures of each objective in each window, and how much of the budget is left."""
    late = f"time() - max(goodsight_watch_evaluated_timestamp_seconds) > bool {LATE_SECONDS}"
    made: list[dict[str, Any]] = [{"record": "goodsight:decision_late:bool", "expr": late}]
    for objective in OBJECTIVES:
        for window in WINDOWS:
            made.append({"record": objective.recorded(window), "expr": objective.ratio.replace("{window}", window)})
        left = f"1 - {objective.recorded(f'{DAYS}d')} / {objective.budget}"
        made.append({"record": f"goodsight:{objective.name}_budget:left", "expr": left})
    return made


def burning(objective: Objective, severity: str) -> str:
    """PromQL that is true while the budget burns as fast as is told to `severity`."""
    pairs = []
    for burn in (each for each in BURNS if each.severity == severity):
        limit = f"{burn.factor:g} * {objective.budget}"
        pairs.append(f"({objective.recorded(burn.long)} > {limit} and {objective.recorded(burn.short)} > {limit})")
    return " or ".join(pairs)
