"""The OpenAPI document of a server, made from the table of operations, its limits and its models."""

from dataclasses import asdict
from typing import Any

from pydantic.json_schema import models_json_schema

from refrain._version import __version__

from .answers import ErrorAnswer
from .limits import Limits
from .operations import OPERATIONS, Operation
from .refused import CODES
from .served import Models

EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
    "description": "Each event of the stream. Its data is JSON, or [DONE] at the end.",
}
REFERENCE = "#/components/schemas/{model}"
PLAIN_PATHS = {
    "/metrics": ("metrics", "Counts of requests and batches, in Prometheus' text format.", "text/plain"),
    "/openapi.json": ("openapi", "This document.", "application/json"),
    "/": ("page", "A page for people.", "text/html"),
}
OPEN_PATHS = ("/", "/openapi.json")
"""Paths beside the operations, and those of them that need no token."""


def openapi(models: Models, limits: Limits, *, needs_token: bool) -> dict[str, Any]:
    """The document of a server. Operations for which it has no model are left out.

    Args:
        models: the models of the server.
        limits: its limits.
        needs_token: whether requests need a token.
    """
    served = [each for each in OPERATIONS if each.kind is None or models.names(each.kind)]
    forms = {each.request: "validation" for each in served if each.request is not None}
    forms |= {each.answer: "serialization" for each in served} | {ErrorAnswer: "serialization"}
    _, schemas = models_json_schema([(form, mode) for form, mode in forms.items()], ref_template=REFERENCE)  # type: ignore[misc]
    definitions = schemas["$defs"]
    for operation in served:
        if operation.request is not None:
            _name_models(definitions[operation.request.__name__], models.names(operation.kind))
    _show_limits(definitions, asdict(limits))
    paths: dict[str, dict[str, Any]] = {}
    for operation in served:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, needs_token)
    for path, (name, summary, media_type) in PLAIN_PATHS.items():
        content = {media_type: {"schema": {"type": "object"} if media_type == "application/json" else {}}}
        responses = {"200": {"description": summary, "content": content}}
        responses |= _errors([] if path in OPEN_PATHS else [401], needs_token)
        security: dict[str, Any] = {"security": []} if path in OPEN_PATHS else {}
        paths[path] = {"get": {"operationId": name, "summary": summary, "responses": responses, **security}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "refrain",
            "version": __version__,
            "description": "Recurrent language models and taggers. docs/serving.md describes the operations.",
        },
        "paths": paths,
        "components": {"schemas": definitions},
    }
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(operation: Operation, needs_token: bool) -> dict[str, Any]:
    statuses = [401, 408, 421, 429, 500, 503]
    content: dict[str, Any] = {"application/json": {"schema": _reference(operation.answer.__name__)}}
    found: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary}
    if operation.streams:
        content["text/event-stream"] = {"schema": EVENT}
    if operation.request is not None:
        statuses += [400, 413, 415, 422]
        schema = _reference(operation.request.__name__)
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        if "model" in operation.request.model_fields:
            statuses.append(404)
    if operation.has_session:
        statuses.append(404)
        session = {"name": "session", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        found["parameters"] = [session]
    if operation.open:
        found["security"] = []
        statuses.remove(401)
    ok = {"200": {"description": operation.summary, "content": content}}
    return {**found, "responses": ok | _errors(statuses, needs_token)}


def _errors(statuses: list[int], needs_token: bool) -> dict[str, Any]:
    """The responses of errors; no request is unauthorized where no token is needed, nor misdirected where one is."""
    never = 421 if needs_token else 401
    return {
        str(status): {
            "description": CODES[status],
            "content": {"application/json": {"schema": _reference(ErrorAnswer.__name__)}},
        }
        for status in sorted(set(statuses) - {never})
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=name)}


def _name_models(schema: dict[str, Any], names: list[str]) -> None:
    """Write the names of the models into the field `model` of a request."""
    field = schema["properties"].get("model")
    if field is None:
        return
    for part in field.get("anyOf", [field]):
        if part.get("type") == "string":
            part.clear()
            part |= {"type": "string", "enum": names}


def _show_limits(schema: Any, limits: dict[str, Any]) -> None:
    """Replace the names of limits in a schema by keywords of JSON Schema."""
    if isinstance(schema, list):
        for part in schema:
            _show_limits(part, limits)
        return
    if not isinstance(schema, dict):
        return
    limit = schema.pop("limit", None)
    if isinstance(limit, str):
        keyword = {"string": "maxLength", "array": "maxItems", "integer": "maximum"}
        for part in [schema, *schema.get("anyOf", [])]:
            if part.get("type") in keyword:
                part[keyword[part["type"]]] = limits[limit]
        if isinstance(schema.get("default"), int):
            schema["default"] = min(schema["default"], limits[limit])
    for part in schema.values():
        _show_limits(part, limits)
