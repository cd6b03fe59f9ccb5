"""Every error in one shape: RFC 9457 problem+json, with a stable `type` and `code`, the request's
id, and where the trouble is."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from codexrun_core.errors import Refused, Unavailable
from codexrun_core.resources.field_problems import explain, place

JSON = "application/problem+json"


class FieldError(BaseModel):
    """One problem of the request."""

    detail: str
    pointer: Annotated[
        str | None,
        Field(description="JSON pointer to the field in the body.", examples=["/inputs/name"]),
    ] = None
    parameter: Annotated[
        str | None,
        Field(description="Name of the query, path or header parameter.", examples=["page_size"]),
    ] = None


class ProblemBody(BaseModel):
    """RFC 9457. `code` and `type` are stable; `detail` is human-readable and may change."""

    type: Annotated[str, Field(examples=["urn:codexrun:problem:run-not-found"])]
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(examples=["run-not-found"])]
    request_id: str
    errors: list[FieldError] = []
    retry_after: Annotated[
        int | None, Field(description="Seconds to wait; the same as the Retry-After header.")
    ] = None


class Problem(Exception):
    """Raise it anywhere below a route; it becomes the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.retry_after = None if retry_after is None else max(1, round(retry_after))

    def body(self, request_id: str) -> dict[str, Any]:
        return ProblemBody(
            type=f"urn:codexrun:problem:{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            errors=self.errors,
            retry_after=self.retry_after,
        ).model_dump(exclude_none=True)

    def response(self, request_id: str, headers: dict[str, str] | None = None) -> JSONResponse:
        all_headers = dict(headers or {})
        if self.retry_after is not None:
            all_headers["Retry-After"] = str(self.retry_after)
        if self.status == HTTPStatus.UNAUTHORIZED:
            all_headers["WWW-Authenticate"] = 'Bearer realm="codexrun"'
        return JSONResponse(self.body(request_id), self.status, all_headers, media_type=JSON)


def not_found(id_or_name: str) -> Problem:
    detail = f'there is no run "{id_or_name}"; GET /runs lists the runs'
    return Problem(404, "run-not-found", detail)


def invalid(detail: str, *errors: FieldError) -> Problem:
    return Problem(422, "invalid-request", detail, errors=errors)


def unavailable(what: str) -> Problem:
    return Problem(503, "unavailable", f"{what}; try again", retry_after=5)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return, for OpenAPI, the problems that a route can answer with; 400 is any route's, for what
    exceeds the bounds of a request's head."""
    described = {
        "model": ProblemBody,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
    }
    return {
        s: {"description": HTTPStatus(s).phrase, "content": described["content"]}
        for s in (400, *statuses)
    }


def from_refusal(refused: Refused) -> Problem:
    """Return what the apiserver itself refused (schema, CEL, admission policy, rights) as a
    problem."""
    if refused.status == HTTPStatus.FORBIDDEN:
        return Problem(
            403, "refused-by-cluster", (f"the cluster refused the request: {refused.message}")
        )
    if refused.status in (400, 422):
        return Problem(422, "invalid-run", refused.message, errors=pointed(refused.message))
    return unavailable(f"the cluster refused the request: {refused.message}")


_FIELD = re.compile(r"spec\.([A-Za-z]+(?:\.[A-Za-z]+)*)(/[^:\s]*)?: (.*)")


def pointed(message: str) -> list[FieldError]:
    """Return the operator's message by fields. It names them as `spec.limits.maxTokens: ...`;
    the body calls them /limits/max_tokens."""
    errors = []
    for part in message.split("; "):
        if match := _FIELD.match(part):
            path, inner, detail = match.groups()
            steps = [re.sub(r"(?<!^)(?=[A-Z])", "_", step).lower() for step in path.split(".")]
            errors.append(FieldError(pointer="/" + "/".join(steps) + (inner or ""), detail=detail))
    return errors


def _validation(error: RequestValidationError) -> Problem:
    return invalid("the request is not valid; `errors` says where", *_field_errors(error.errors()))


def _field_errors(errors: Iterable[Any]) -> list[FieldError]:
    field_errors = []
    for error in errors:
        location, *path = place(error) or ("body",)
        if location == "body":
            pointer = "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)
            field_errors.append(
                FieldError(
                    pointer="" if error["type"] == "json_invalid" else pointer,
                    detail=explain(error),
                )
            )
        else:
            field_errors.append(
                FieldError(
                    parameter=str(path[-1]) if path else str(location), detail=explain(error)
                )
            )
    return field_errors


_CODES = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}
_WHERE = "; /openapi.json lists the paths and their methods"


def problem_of(error: Exception) -> Problem:
    """Return what any exception that may reach a route's edge means to the caller."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _validation(error)
        case HTTPException():
            code = _CODES.get(error.status_code, "http-error")
            return Problem(
                error.status_code,
                code,
                f"{error.detail}{_WHERE if error.status_code in (404, 405) else ''}",
            )
        case Unavailable():
            return unavailable(str(error))
        case Refused():
            return from_refusal(error)
        case _:
            return Problem(
                500,
                "internal",
                "internal error; the server's log has the details under this request ID",
            )


def _allowed_methods(request: Request) -> set[str]:
    """Return the methods of all routes of the path; the router names those of the first one."""
    routes = (
        route
        for included in request.app.routes
        for route in getattr(getattr(included, "original_router", None), "routes", [included])
    )
    matching = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return {method for route in matching for method in getattr(route, "methods", None) or ()}


async def handle(request: Request, error: Exception) -> JSONResponse:
    """Answer an error; registered for every exception but those nobody foresaw."""
    headers = dict(getattr(error, "headers", None) or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    return problem_of(error).response(request.state.request_id, headers)
