"""Rules, objectives and dashboards: kept as they are made, of metrics that are really exported, each alert tested and with a runbook."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from observing.files import FOLDER, files
from observing.names import metrics_in
from observing.rules import ALERTS, RUNBOOKS, groups
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics import Metrics
from serving.gateway.app import create
from serving.gateway.gateway import Gateway
from serving.gateway.upstream import Upstream
from serving.worker_metrics import DECLARED
from tests.monitoring.test_metrics import DECISION, run
from tests.serving.gateway.standing import Held

HOUSE = Path(__file__).parents[2]
TESTS = sorted(FOLDER.glob("*_test.yaml"))
MATCHED = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
Exported = dict[str, set[str]]  # name of a series -> its labels


def test_what_is_kept_is_what_is_made() -> None:
    for name, text in files().items():
        assert (FOLDER / name).read_text() == text, f"{name} is not what `python k8s/observe.py` makes"
    kept = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json")}
    assert kept == {name for name in files() if name.endswith(".json")}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    headings = re.findall(r"^## (Goodsight\w+)$", (HOUSE / "docs" / "platform" / "runbooks.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alert.name for alert in ALERTS) and len(set(headings)) == len(headings)
    for alert in ALERTS:
        made = alert.to_json()
        assert made["annotations"]["runbook_url"] == f"{RUNBOOKS}#{alert.name.lower()}"  # how a heading's link is written
        assert made["labels"]["severity"] in ("page", "ticket") and made["annotations"]["summary"]
    assert (HOUSE / RUNBOOKS.partition("/main/")[2]).is_file()


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and PromQL: of every rule and of every panel."""
    for group in groups():
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for path in sorted(FOLDER.glob("dashboards/*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def series(text: str) -> Exported:
    found: Exported = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def _gateway() -> str:
    model = Held()
    model.let_go()
    gateway = Gateway(Upstream(model, 64), 30.0, lambda id: pytest.fail(id))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create(gateway)), base_url="http://localhost") as client:
        assert (await client.post("/v1/search", json={"text": "sofa"})).status_code == 200
        gateway.metrics.feedback("click", "new")
        return (await client.get("/metrics")).text


def _controller() -> str:
    metrics = Metrics()
    going = run("2", "RUNNING")
    metrics.update(
        decision=DECISION, champion={"version": "7", "since": "2026-11-01T00:00:00+00:00"}, runs=[going, run("1", "SUCCEEDED")],
        feedback={"judged": 20, "correct": 15}, data={"decision": "passed", "quarantined": 3, "products_in": 100},
    )  # fmt: skip
    return metrics.text().decode()


def worker() -> Exported:
    """What the workers declare, as TorchServe exports it; tests/serving/test_worker.py sees it do so."""
    declared, found = yaml.safe_load(DECLARED.read_text())["model_metrics"], Exported()
    for kind, metrics in declared.items():
        for each in metrics:
            for end in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
                found[each["name"] + end] = {*each["dimensions"], "Hostname", *(["le"] if end == "_bucket" else [])}
    return found


@pytest.fixture(scope="module")
def exported() -> Exported:
    return {**series(asyncio.run(_gateway())), **series(_controller()), **worker()}


def test_every_metric_that_is_named_is_one_that_is_exported(exported: Exported) -> None:
    recorded = {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}
    named: set[str] = set()
    for where, expression in expressions():
        names = metrics_in(expression)
        assert names, f"{where}: no metric in {expression}"
        assert names <= set(exported) | recorded, f"{where} names {sorted(names - set(exported) - recorded)}"
        named |= names
        for name, matchers in MATCHED.findall(expression):
            assert set(LABEL.findall(matchers)) <= exported[name], f"{where}: {name} has the labels {sorted(exported[name])}"
    assert len(named) > 40 and any(name.startswith("goodsight_worker") for name in named)


def test_the_names_in_an_expression() -> None:
    expression = 'sum by (route) (rate(goodsight_requests_total{status=~"5..",route!="a_b"}[5m])) > 2 * (x:y offset 7d)'
    expression += " and time() - max(z) > bool 3"
    assert metrics_in(expression) == {"goodsight_requests_total", "x:y", "z"}


def cases() -> Iterator[tuple[str, bool]]:
    """A pattern of alerts, and whether they are seen to fire."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("promql_expr_test", ()):
                yield from ((pattern, bool(case["exp_samples"])) for pattern in re.findall(r'alertname=~?"([^"]*)"', case["expr"]))
            yield from ((case["alertname"], bool(case["exp_alerts"])) for case in test.get("alert_rule_test", ()))


@pytest.mark.parametrize("alert", [alert.name for alert in ALERTS])
def test_every_alert_is_seen_to_fire_and_to_be_quiet(alert: str) -> None:
    seen = {fires for pattern, fires in cases() if re.fullmatch(pattern, alert)}
    assert seen == {True, False}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        missing = "No promtool on the PATH (it is in Debian's package prometheus)."
        pytest.fail(missing) if os.environ.get("GOODSIGHT_REQUIRE_PROMTOOL") == "1" else pytest.skip(missing)
    return found


def told(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.promtool
def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = told(promtool, "check", "rules", "--lint-fatal", FOLDER / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(promtool: str, path: Path) -> None:
    done = told(promtool, "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
def test_a_rule_that_is_wrong_is_found(promtool: str, tmp_path: Path) -> None:
    """The tests are not for show: an alert that never fires fails them."""
    made = (FOLDER / "rules.yaml").read_text().replace("max(goodsight_data_refused) > 0", "max(goodsight_data_refused) > 1")
    (tmp_path / "rules.yaml").write_text(made)
    shutil.copy(FOLDER / "rules_days_test.yaml", tmp_path)
    done = told(promtool, "test", "rules", tmp_path / "rules_days_test.yaml")
    assert done.returncode != 0 and "GoodsightDataRefused" in done.stdout + done.stderr


def test_the_operator_gets_the_same_rules(rendered: dict[str, list[dict[str, Any]]]) -> None:
    [manifest] = [each for each in rendered["monitored"] if each["kind"] == "PrometheusRule"]
    assert manifest["spec"] == yaml.safe_load((FOLDER / "rules.yaml").read_text())
    [boards] = [each for each in rendered["monitored"] if each["metadata"]["name"] == "goodsight-dashboards"]
    assert set(boards["data"]) == {path.name for path in FOLDER.glob("dashboards/*.json")}
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    monitors = [each for each in rendered["monitored"] if each["kind"] == "PodMonitor"]
    ports = {each["metadata"]["name"]: each["spec"]["podMetricsEndpoints"][0]["port"] for each in monitors}
    pods = {each["metadata"]["name"]: each["spec"]["template"] for each in rendered["monitored"] if each["kind"] == "Deployment"}
    for name in set(ports) & set(pods):
        named = {port["name"] for each in pods[name]["spec"]["containers"] for port in each.get("ports", ())}
        assert ports[name] in named and pods[name]["metadata"]["labels"]["app.kubernetes.io/name"] == name
    assert "serving" in set(ports) & set(pods)
