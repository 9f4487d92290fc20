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
from string import Formatter
from typing import TYPE_CHECKING, Any

from goodsight.errors import GoodsightError
from goodsight.settings import silence_telemetry

if TYPE_CHECKING:
    import pandas as pd

SUITES = Path(__file__).with_name("expectations")
EXAMPLES = 5
RESULT_FORMATS = {"critical": "COMPLETE", "warning": "SUMMARY"}  # every row that is to leave; of the others a count and examples
ALL_ROWS = ("unexpected_list", "unexpected_index_list")  # what COMPLETE has beyond SUMMARY


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
    facts: list[str]  # of each row of a warning, what the expectation judged

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
    ids, column = frame["id"].iloc[rows].tolist(), config.kwargs["column"]
    reasons, judged = [], []
    if severity == "critical":
        reasons = _reasons(template, frame, rows)
    else:
        reasons = [template.format(observed=result.result.get("observed_value"))] if not result.success else []
        judged = [f"{column.replace('_', ' ')}: {value}" for value in frame[column].iloc[rows]]
    count, held = result.result.get("unexpected_count") or 0, bool(result.success)
    return Outcome(name, config.description, severity, config.meta["label"], held, count, rows, ids, reasons, judged)


def _reasons(template: str, frame: pd.DataFrame, rows: list[int]) -> list[str]:
    """The template with the facts of each row."""
    named = {name for _, name, _, _ in Formatter().parse(template) if name}
    return [template.format(**facts) for facts in frame[sorted(named | {"id"})].iloc[rows].to_dict("records")]


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
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self.run = RunIdentifier(run_name=run)
        self.findings: dict[str, Findings] = {}
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self.source = self.context.data_sources.add_pandas("catalogue")
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(report.resolve())}
        site: Any = {"class_name": "SiteBuilder", "store_backend": store}
        self.context.add_data_docs_site("report", site)

    def _run(self, name: str, severity: str, frame: pd.DataFrame) -> Any:
        """The validation of `frame` by the expectations of one severity in `expectations/<name>.json`."""
        import great_expectations as gx
        import pandas as pd
        from great_expectations.validator.v1_validator import Validator

        rules = json.loads((SUITES / f"{name}.json").read_text())["expectations"]
        suite = self.context.suites.add(gx.ExpectationSuite(f"{name}-{severity}", [rule for rule in rules if rule["severity"] == severity]))
        columns = sorted({rule.configuration.kwargs["column"] for rule in suite.expectations})
        batch = self.source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        told: Any = {
            "result_format": RESULT_FORMATS[severity],
            "partial_unexpected_count": EXAMPLES,
            "return_unexpected_index_query": False,
        }
        with pd.option_context("mode.copy_on_write", True):  # Great Expectations takes a copy for every rule, and writes into none
            return Validator(batch, batch_parameters={"dataframe": frame[columns]}, result_format=told).validate_expectation_suite(suite)

    def judge(self, name: str, frame: pd.DataFrame) -> Findings:
        """Runs the suite `expectations/<name>.json` on `frame`, whose index numbers its rows from 0."""
        validations = [self._run(name, severity, frame) for severity in RESULT_FORMATS]
        outcomes = [_outcome(result, frame) for validation in validations for result in validation.results]
        for validation in validations:
            self._keep(validation)
        self.findings[name] = Findings(outcomes, len(frame))
        return self.findings[name]

    def _keep(self, validation: Any) -> None:
        """Keeps for the Data Docs what they show: counts and examples, escaped, since Great Expectations puts values in as they are."""
        from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier, ValidationResultIdentifier

        for each in validation.results:
            each.result = _escaped({name: value for name, value in each.result.items() if name not in ALL_ROWS})
        validation.meta["run_id"] = self.run
        key = ValidationResultIdentifier(ExpectationSuiteIdentifier(validation.suite_name), self.run, validation.batch_id)
        self.context.validation_results_store.set(key, validation)

    def write_docs(self) -> None:
        """Writes the Data Docs pages of all suites judged."""
        self.context.build_data_docs(site_names=["report"])
