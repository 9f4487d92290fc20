"""Runs the Great Expectations suites of `expectations/` on frames of checks and keeps their Data Docs.

The suites are the one source of rules: an expectation of severity `critical` sends the rows it finds to quarantine,
one of severity `warning` only lists them. `meta.label` names the fault in two words, `meta.reason` is the sentence,
with the row's facts (critical) or the observed value (warning) filled in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.errors import GoodsightError
from goodsight.settings import silence_telemetry

if TYPE_CHECKING:
    import pandas as pd

SUITES = Path(__file__).with_name("expectations")
EXAMPLES = 5
RESULT_FORMATS = {"critical": "COMPLETE", "warning": "SUMMARY"}  # every row that is to leave; of the others a count and examples


@cache
def releasable() -> frozenset[str]:
    """Labels of the faults with which a row can still be trained on, if a person says that it is right."""
    rules = [rule for path in SUITES.glob("*.json") for rule in json.loads(path.read_text())["expectations"]]
    return frozenset(rule["meta"]["label"] for rule in rules if rule["meta"].get("releasable"))


@dataclass(frozen=True)
class Outcome:
    """What one expectation found: whether it held, and the rows that fell out with their ids and reasons."""

    expectation: str
    description: str
    severity: str  # critical or warning
    label: str
    held: bool
    count: int  # of rows that fell out
    rows: list[int]  # all of them when critical, else some
    ids: list[str]
    reasons: list[str]  # one a row when critical, else one for all
    facts: list[str]  # of each row, what the expectation judged

    def examples(self) -> list[int]:
        """Some of the rows, in their order."""
        return sorted(set(self.rows[:EXAMPLES]))

    def warning(self, of: int) -> dict[str, Any]:
        """This outcome in the verdict, of a frame with `of` rows."""
        return {
            "label": self.label,
            "reason": self.reasons[0],
            "count": self.count,
            "of": of,
            "examples": self.ids[:EXAMPLES],
            "expectation": self.expectation,
        }


@dataclass(frozen=True)
class Fault:
    """What one critical expectation found in one row."""

    expectation: str
    label: str
    reason: str


@dataclass(frozen=True)
class Findings:
    """The outcomes of one suite on a frame of `rows` rows."""

    outcomes: list[Outcome]
    rows: int

    @cached_property
    def faults(self) -> dict[int, list[Fault]]:
        """Row number -> its faults, in the order of the suite."""
        found: dict[int, list[Fault]] = defaultdict(list)
        for outcome in self.outcomes:
            if outcome.severity == "critical":
                for row, reason in zip(outcome.rows, outcome.reasons, strict=True):
                    found[row].append(Fault(outcome.expectation, outcome.label, reason))
        return dict(found)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Expectations of severity `warning` that did not hold."""
        failed = (outcome for outcome in self.outcomes if outcome.severity == "warning" and not outcome.held)
        return [outcome.warning(self.rows) for outcome in failed]

    @property
    def failed(self) -> int:
        """How many expectations did not hold."""
        return sum(not outcome.held for outcome in self.outcomes)


def _outcome(result: Any, frame: pd.DataFrame) -> Outcome:
    """Reads one result of Great Expectations."""
    config = result.expectation_config
    name = f"{config.type}({config.kwargs.get('column', '')})"
    if result.exception_info.get("raised_exception"):
        raise GoodsightError(f"{name} could not be judged: {result.exception_info['exception_message']}")
    template, severity = config.meta["reason"], str(config.severity.value)
    found = result.result.get("unexpected_index_list" if severity == "critical" else "partial_unexpected_index_list") or []
    rows = [int(row) for row in found]
    facts = frame.iloc[rows]
    if severity == "critical":
        reasons = [template.format(**row) for row in facts.to_dict("records")]
    else:
        reasons = [template.format(observed=result.result.get("observed_value"))] if not result.success else []
    count, held = result.result.get("unexpected_count") or 0, bool(result.success)
    column = config.kwargs["column"]
    judged = [f"{column.replace('_', ' ')}: {value}" for value in facts[column]]
    return Outcome(name, config.description, severity, config.meta["label"], held, count, rows, facts["id"].tolist(), reasons, judged)


def _escaped(value: Any) -> Any:
    """A result with every text in it escaped for HTML."""
    if isinstance(value, dict):
        return {name: _escaped(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return escape(value) if isinstance(value, str) else value


class Judge:
    """One Great Expectations context in memory with its Data Docs in `report`; `run` names the run on its pages."""

    def __init__(self, report: Path, run: str) -> None:
        silence_telemetry()
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self.run = run
        self.findings: dict[str, Findings] = {}
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self.source = self.context.data_sources.add_pandas("catalogue")
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(report.resolve())}
        site: Any = {"class_name": "SiteBuilder", "store_backend": store}
        self.context.add_data_docs_site("report", site)

    def _run(self, name: str, severity: str, frame: pd.DataFrame) -> list[Any]:
        """Results of the expectations of one severity in `expectations/<name>.json`."""
        import great_expectations as gx
        from great_expectations.core.run_identifier import RunIdentifier

        rules = json.loads((SUITES / f"{name}.json").read_text())["expectations"]
        suite = f"{name}-{severity}"
        wanted = self.context.suites.add(gx.ExpectationSuite(suite, [rule for rule in rules if rule["severity"] == severity]))
        batch = self.source.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("all")
        definition = self.context.validation_definitions.add(gx.ValidationDefinition(name=suite, data=batch, suite=wanted))
        told: Any = {
            "result_format": RESULT_FORMATS[severity],
            "partial_unexpected_count": EXAMPLES,
            "return_unexpected_index_query": False,
        }
        run = RunIdentifier(run_name=self.run)
        columns = sorted({rule.kwargs["column"] for rule in (each.configuration for each in wanted.expectations)})
        results: list[Any] = definition.run(batch_parameters={"dataframe": frame[columns]}, result_format=told, run_id=run).results
        return results

    def judge(self, name: str, frame: pd.DataFrame) -> Findings:
        """Runs the suite `expectations/<name>.json` on `frame`, whose index numbers its rows from 0."""
        results = [result for severity in RESULT_FORMATS for result in self._run(name, severity, frame)]
        self.findings[name] = Findings([_outcome(result, frame) for result in results], len(frame))
        return self.findings[name]

    def write_docs(self) -> None:
        """Writes the Data Docs pages of all suites judged, in which values are escaped: Great Expectations puts them in as they are."""
        store = self.context.validation_results_store
        for key in store.list_keys():
            judged: Any = store.get(key)
            for each in judged.results:
                each.result = _escaped(each.result)
            store.update(key, judged)
        self.context.build_data_docs(site_names=["report"])
