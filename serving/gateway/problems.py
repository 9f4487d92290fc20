"""What a caller is told when there is no answer: problem details of RFC 9457, with the id of the request and without what was asked."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TITLES = {413: "Content Too Large", 499: "Client Closed Request"}  # Python 3.11 has an older one, and none


class Problem(Exception):
    """No answer: `status` of HTTP, `detail` for the caller, seconds after which to try again, the id of the answer in the log."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None, id: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after, self.id = status, detail, retry_after, id

    def told(self, request_id: str) -> dict[str, Any]:
        """The problem as JSON."""
        title = TITLES.get(self.status) or HTTPStatus(self.status).phrase
        known = {"id": self.id} if self.id else {}
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, "request_id": request_id, **known}

    def response(self, request_id: str, protocol: bool = False) -> Response:
        """The problem as a response; in the Open Inference Protocol it has an `error` too."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="goodsight"'
        told = self.told(request_id) | ({"error": self.detail} if protocol else {})
        body = json.dumps(told, ensure_ascii=False).encode(errors="replace")
        return Response(body, self.status, headers, MEDIA_TYPE)


class ProblemDetails(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(extra="forbid", title="Problem")

    type: str = Field(description="Always about:blank: the status says it.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is wrong, and what to do.")
    request_id: str = Field(description="As in the header X-Request-ID, and in the gateway's log.")
    error: str | None = Field(default=None, description="The detail once more, under /v2.")
    id: str | None = Field(default=None, description="Id of the refusal in the prediction log, where the model server refused.")


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def fields_at_fault(error: ValidationError) -> str:
    """What is wrong, field by field, without repeating what was sent."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    parts = {f"{'.'.join(str(each)[:40] for each in item['loc'][:3]) or 'request'}: {_said(item['msg'])}" for item in details}
    return "; ".join(sorted(parts)[:8])
