"""The OpenAPI document against what the gateway does: requests made from it, right and wrong ones, before a real predictor."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from goodsight.settings import settings
from serving.gateway.app import create
from serving.gateway.gateway import Gateway
from serving.gateway.passports import passports
from serving.gateway.schemas import FORMS, REQUESTS
from serving.gateway.upstream import Upstream
from tests.serving.gateway.standing import InProcess

LOCAL = {"Host": "localhost"}
REFUSABLE = ["2xx", "400", "404", "413", "503"]  # bytes that are no image and ids of nothing: no document tells them apart
CONFIG: dict[str, Any] = {"checks": {"positive_data_acceptance": {"expected-statuses": REFUSABLE}}}
EXAMPLES = 12  # of each operation, right and wrong


def document(model: InProcess) -> Any:
    gateway = Gateway(Upstream(model, 64), 600.0, passports(settings().root))
    return create(gateway)


@pytest.fixture(scope="module")
def api(model: InProcess) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", document(model), headers=LOCAL, config=SchemathesisConfig.from_dict(CONFIG))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_it_does_what_its_document_says(api: Any, mode: GenerationMode) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert {"POST /v1/search", "GET /v1/products/{id}/similar", "POST /v2/models/goodsight/infer"} <= {each.label for each in operations}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and operation.method == "get" and "{" not in operation.path:
            continue  # it takes nothing, so nothing can be wrong
        _try(operation.as_strategy(generation_mode=mode))


def _try(cases: Any) -> None:
    """Sends requests; raises when an answer is not as the document says."""
    slow = list(hypothesis.HealthCheck)

    @hypothesis.given(cases)
    @hypothesis.settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=slow)
    def check(case: Any) -> None:
        case.call_and_validate(headers=LOCAL)

    check()


def test_every_example_is_as_its_schema_wants_it(model: InProcess) -> None:
    made = document(model).openapi()

    def check(schema: dict[str, Any], example: Any) -> None:
        Draft202012Validator({**schema, "components": made["components"]}).validate(example)

    for task in FORMS:
        operation = made["paths"][f"/v1/{task}"]["post"]
        asked = operation["requestBody"]["content"]["application/json"]
        for example in asked["examples"].values():
            check(asked["schema"], example["value"])
        answered = operation["responses"]["200"]["content"]["application/json"]
        if task in REQUESTS:
            check(answered["schema"], answered["example"])
