"""Questions to the Kubernetes API: asked again while it does not answer, and its refusals as errors of ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from goodsight.errors import BusyError, ConflictError, GoodsightError, InputError, NotFoundError

T = TypeVar("T")
PATIENCE_SECONDS = 600.0  # with an API server that does not answer
LONGEST_WAIT_SECONDS = 30.0  # between two questions


def asked(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What `call` of the Kubernetes client or of the Kubeflow SDK answers.

    Raises `NotFoundError` (404), `ConflictError` (409: it is there already), `InputError` when the cluster refuses, and
    `BusyError` when it does not answer for `PATIENCE_SECONDS`.
    """
    long = stop_after_delay(PATIENCE_SECONDS)
    again = Retrying(retry=retry_if_exception(_may_pass), wait=wait_exponential(max=LONGEST_WAIT_SECONDS), stop=long, reraise=True)
    try:
        return again(call, *arguments, **options)
    except _errors() as error:
        raise _explained(error) from error


def _errors() -> tuple[type[Exception], ...]:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    return ApiException, HTTPError, OSError, RuntimeError, ValueError  # the SDK raises the last two


def _cause(error: BaseException) -> BaseException:
    """What the SDK wrapped in its own RuntimeError."""
    return _cause(error.__cause__) if error.__cause__ else error


def _may_pass(error: BaseException) -> bool:
    cause = _cause(error)
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status == 429 or status >= 500
    from urllib3.exceptions import HTTPError

    return isinstance(cause, (OSError, HTTPError))


def _explained(error: BaseException) -> GoodsightError:
    cause = _cause(error)
    status = getattr(cause, "status", None)
    if _may_pass(error):
        return BusyError(f"The cluster does not answer: {_reason(cause)}", "Try again when it does.")
    if status in (404, 409):
        return (NotFoundError if status == 404 else ConflictError)(_reason(cause))
    if isinstance(status, int):
        return InputError(f"The cluster refuses ({status}): {_reason(cause)}", "Do the service account's role and the quota allow it?")
    return InputError(f"{error}: {cause}", "Is the TrainingRuntime one that the Kubeflow SDK can use?")


def _reason(cause: BaseException) -> str:
    """The message of the API server, without headers."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(getattr(cause, "body", ""))["message"])
    return str(getattr(cause, "reason", None) or cause)
