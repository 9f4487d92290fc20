"""What is made here, as the files that are kept: each file of k8s/monitoring that no person writes, with its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from observing.rules import groups

FOLDER = Path(__file__).parents[1] / "monitoring"
MADE = "# Made by `python k8s/observe.py` from k8s/observing; change it there.\n"


def files() -> dict[str, str]:
    """Name in k8s/monitoring -> text."""
    from observing.dashboards import dashboards

    rules = {"groups": groups()}
    labels = {"app.kubernetes.io/name": "goodsight-rules"}
    named = {"metadata": {"name": "goodsight", "labels": labels}}
    manifest = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", **named, "spec": rules}
    made = {"rules.yaml": _yaml(rules), "prometheusrule.yaml": _yaml(manifest)}
    for name, board in dashboards().items():
        made[f"dashboards/{name}.json"] = json.dumps(board, indent=1, sort_keys=True) + "\n"
    return made


def _yaml(value: Any) -> str:
    return MADE + yaml.safe_dump(value, sort_keys=False, width=140, allow_unicode=True)
