"""Grafana's dashboards: what serves, what retraining does and why, what was promised. Their source is a variable: they fit any Grafana."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

from observing.slos import ASKED, DAYS, OBJECTIVES, QUICK

Panel = Any  # any of the SDK's builders of panels
Query = tuple[str, str]  # PromQL, legend
Step = tuple[float | None, str]  # from this value on, this colour

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
WIDE, HALF, THIRD, QUARTER = 24, 12, 8, 6
TALL, LOW = 8, 4
GREEN, AMBER, RED = "green", "orange", "red"


def _query(expr: str, legend: str, instant: bool = False) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expr).legend_format(legend).datasource(SOURCE)
    return made.instant() if instant else made.range()


def _steps(*steps: Step) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value=value, color=color) for value, color in steps])


def _placed(
    panel: Panel, title: str, description: str, unit: str, queries: Sequence[Query], span: int, height: int, instant: bool = False
) -> Panel:
    made = panel.title(title).description(description).datasource(SOURCE).unit(unit).span(span).height(height)
    for number, (expr, legend) in enumerate(queries):
        made = made.with_target(_query(expr, legend, instant).ref_id(chr(ord("A") + number)))
    return made


def lines(
    title: str, description: str, unit: str, *queries: Query, span: int = HALF, stacked: bool = False, limit: float | None = None
) -> Panel:
    """Lines over time; `limit` is drawn across."""
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    made = timeseries.Panel().legend(legend).line_width(2).fill_opacity(25 if stacked else 8)
    if stacked:
        made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if limit is not None:
        style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
        made = made.thresholds(_steps((None, GREEN), (limit, RED))).thresholds_style(style)
    return _placed(made, title, description, unit, queries, span, TALL)


def figure(title: str, description: str, unit: str, expr: str, *steps: Step, legend: str = "", span: int = QUARTER) -> Panel:
    """One figure, coloured by `steps`."""
    made = stat.Panel().graph_mode(BigValueGraphMode.AREA if steps else BigValueGraphMode.NONE)
    made = made.thresholds(_steps(*(steps or ((None, GREEN),))))
    return _placed(made, title, description, unit, [(expr, legend)], span, LOW)


def rows(title: str, description: str, expr: str, span: int = HALF) -> Panel:
    """The newest values as a table, a row for each series."""
    made = _placed(table.Panel(), title, description, "short", [], span, TALL)
    return made.with_target(_query(expr, "", instant=True).format(prometheus_table()).ref_id("A"))


def prometheus_table() -> Any:
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    return PromQueryFormat.TABLE


def _board(uid: str, title: str, about: str, *parts: tuple[str, Sequence[Panel]]) -> dict[str, Any]:
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["goodsight"])
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .link(dashboard.DashboardLink("Goodsight").tags(["goodsight"]).as_dropdown(True))
    )
    for name, panels in parts:
        made = made.with_row(dashboard.Row(name))
        for panel in panels:
            made = made.with_panel(panel)
    built: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    return built


def serving() -> dict[str, Any]:
    """Requests, times, the queue, and the model server behind it."""
    asked = f'goodsight_requests_total{{route=~"{ASKED}"}}'
    seconds = f'goodsight_request_seconds_bucket{{route=~"{QUICK}"}}'
    quantiles = [(f"histogram_quantile({q}, sum by (le) (rate({seconds}[5m])))", f"p{round(100 * q)}") for q in (0.5, 0.95, 0.99)]
    parts = "histogram_quantile(0.95, sum by (le, part) (rate(goodsight_worker_part_seconds_bucket[5m])))"
    size = "sum(rate(goodsight_worker_batch_size_sum[5m])) / sum(rate(goodsight_worker_batch_size_count[5m]))"
    return _board(
        "goodsight-serving",
        "Goodsight: serving",
        "What callers get, and where the time goes.",
        (
            "Callers",
            [
                lines(
                    "Answers",
                    "Requests that ask the model, by status.",
                    "reqps",
                    (f"sum by (status) (rate({asked}[5m]))", "{{status}}"),
                    stacked=True,
                ),
                lines("Time of an answer", "Half a second is what was promised to 99 of 100.", "s", *quantiles, limit=0.5),
                lines("By route", "Requests a second.", "reqps", ("sum by (route) (rate(goodsight_requests_total[5m]))", "{{route}}")),
                lines(
                    "By version",
                    "Which model versions answer.",
                    "reqps",
                    (f"sum by (version) (rate({asked}[5m]))", "version {{version}}"),
                    stacked=True,
                ),
            ],
        ),
        (
            "Queue and model server",
            [
                lines(
                    "Queue",
                    "Requests that wait, and how many may.",
                    "short",
                    ("sum(goodsight_queue_waiting)", "wait"),
                    ("sum(goodsight_queue_size)", "may wait"),
                    ("sum(goodsight_sent)", "at the model"),
                    span=THIRD,
                ),
                lines(
                    "What went wrong",
                    "Refused with 429, late with 504, left by callers, sent again.",
                    "reqps",
                    *(
                        (f"sum(rate(goodsight_{name}_total[5m]))", name.replace("_", " "))
                        for name in ("refused", "late", "left", "sent_again")
                    ),
                    span=THIRD,
                ),
                lines(
                    "Feedback",
                    "Pieces of feedback that came, by kind.",
                    "reqps",
                    ("sum by (kind, result) (rate(goodsight_feedback_pieces_total[5m]))", "{{kind}}, {{result}}"),
                    span=THIRD,
                ),
                lines("Parts of the work", "95th percentile in the workers.", "s", (parts, "{{part}}"), span=THIRD),
                lines("Batches", "Requests that the model answers at once.", "short", (size, "requests"), span=THIRD),
                lines(
                    "Workers' answers",
                    "By task and status.",
                    "reqps",
                    ("sum by (task, status) (rate(goodsight_worker_requests_total[5m]))", "{{task}} {{status}}"),
                    span=THIRD,
                ),
            ],
        ),
    )


def retraining() -> dict[str, Any]:
    """Champion, decisions, drift, runs, costs."""
    effect = "max by (name, group, slice) (goodsight_drift_effect / goodsight_drift_bound)"
    age = "time() - max(goodsight_champion_since_timestamp_seconds)"
    return _board(
        "goodsight-retraining",
        "Goodsight: retraining",
        "Whether it is due, why, what came of it and what it cost.",
        (
            "Now",
            [
                figure(
                    "Champion", "The version that answers.", "short", "max by (version) (goodsight_champion)", legend="version {{version}}"
                ),
                figure("Its age", "Since it became champion.", "s", age, (None, GREEN), (90 * 86400, AMBER), (95 * 86400, RED)),
                figure(
                    "Newest decision",
                    "How long ago.",
                    "s",
                    "time() - max(goodsight_watch_evaluated_timestamp_seconds)",
                    (None, GREEN),
                    (2700, RED),
                ),
                figure("Runs going on", "Retrainings now.", "short", "max(goodsight_run_going)"),
            ],
        ),
        (
            "Decisions",
            [
                lines(
                    "Decisions",
                    "In an hour, by what was decided.",
                    "short",
                    ("sum by (decision) (increase(goodsight_watch_evaluations_total[1h]))", "{{decision}}"),
                    stacked=True,
                ),
                lines(
                    "Triggers that fire",
                    "1: it says that a retraining is due.",
                    "short",
                    ("max by (trigger, kind) (goodsight_trigger_fired)", "{{trigger}}"),
                ),
                lines(
                    "Constraints that hold",
                    "1: it keeps a retraining that is due.",
                    "short",
                    ("max by (constraint) (goodsight_constraint_holds)", "{{constraint}}"),
                ),
                lines(
                    "Time of a decision",
                    "95th percentile.",
                    "s",
                    ("histogram_quantile(0.95, sum by (le) (rate(goodsight_watch_evaluation_seconds_bucket[1h])))", "p95"),
                ),
            ],
        ),
        (
            "Drift and data",
            [
                lines(
                    "Largest changes",
                    "Effect in units of its bound; from 1 on it counts, where it is no chance.",
                    "short",
                    (f"topk(10, {effect})", "{{name}} {{slice}}"),
                    limit=1,
                ),
                rows(
                    "What changed",
                    "Findings by name, group and slice; 1: changed.",
                    "max by (name, group, slice) (goodsight_drift_drifted) > 0",
                ),
                lines(
                    "Right by people's word",
                    "Share of judged answers that were right.",
                    "percentunit",
                    ("max(goodsight_feedback_correct_ratio)", "right"),
                ),
                lines(
                    "Data in quarantine",
                    "Share of the newest data's products.",
                    "percentunit",
                    ("max(goodsight_data_quarantined_ratio)", "quarantine"),
                    ("max(goodsight_data_refused)", "refused"),
                ),
            ],
        ),
        (
            "Runs and costs",
            [
                lines(
                    "Runs",
                    "Of a day, by how they ended.",
                    "short",
                    ("max by (state) (increase(goodsight_runs_total[1d]))", "{{state}}"),
                    stacked=True,
                    span=THIRD,
                ),
                lines(
                    "Verdicts",
                    "Of a week.",
                    "short",
                    ("max by (decision) (increase(goodsight_verdicts_total[7d]))", "{{decision}}"),
                    span=THIRD,
                ),
                lines(
                    "Money",
                    "Of a day, by the table of prices.",
                    "short",
                    ("max(increase(goodsight_runs_cost_total[1d]))", "money"),
                    span=THIRD,
                    limit=100,
                ),
                lines(
                    "Steps of the newest run",
                    "0: from the cache.",
                    "s",
                    ("max by (step) (goodsight_last_run_step_seconds)", "{{step}}"),
                    stacked=True,
                    span=THIRD,
                ),
                lines(
                    "CPU and GPU",
                    "Hours of a day.",
                    "h",
                    ("max(increase(goodsight_runs_cpu_seconds_total[1d])) / 3600", "CPU"),
                    ("max(increase(goodsight_runs_gpu_seconds_total[1d])) / 3600", "GPU"),
                    span=THIRD,
                ),
                lines(
                    "Energy", "Of a day, estimated.", "kwatth", ("max(increase(goodsight_runs_energy_kwh_total[1d]))", "energy"), span=THIRD
                ),
            ],
        ),
        (
            "Notices",
            [
                lines(
                    "Notices",
                    "In an hour, by what became of them.",
                    "short",
                    ("sum by (result) (increase(goodsight_notices_total[1h]))", "{{result}}"),
                ),
                lines("Waiting", "That a target has not taken yet.", "short", ("max(goodsight_notices_waiting)", "wait")),
            ],
        ),
    )


def objectives() -> dict[str, Any]:
    """What was promised, what is left of the budget, and how fast it burns."""
    steps: tuple[Step, ...] = ((None, RED), (0, AMBER), (0.25, GREEN))
    parts: list[tuple[str, Sequence[Panel]]] = []
    for objective in OBJECTIVES:
        burns = [(f"{objective.recorded(window)} / {objective.budget}", window) for window in ("5m", "1h", "6h", "3d")]
        left = f"goodsight:{objective.name}_budget:left"
        parts.append(
            (
                objective.title,
                [
                    figure("Budget that is left", f"{objective.promise} In {DAYS} days.", "percentunit", left, *steps, span=QUARTER),
                    lines(
                        "How fast it burns",
                        "1: it lasts just as long as it must; a page at 14.4 and at 6.",
                        "short",
                        *burns,
                        span=18,
                        limit=6,
                    ),
                ],
            )
        )
    return _board("goodsight-objectives", "Goodsight: objectives", "What was promised, and what is left of the budget of failures.", *parts)


def dashboards() -> dict[str, dict[str, Any]]:
    """Name of the file -> the dashboard as JSON."""
    return {"serving": serving(), "retraining": retraining(), "objectives": objectives()}
