"""The OpenAPI document is true: what it allows is answered as it says, and what it forbids is refused."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from refrain.serve import Limits, Service, application
from refrain.serve.openapi import openapi
from refrain.serve.operations import OPERATIONS

EXAMPLES = 6
LIMITS = Limits(characters=3000, texts=4, tokens=5, samples=2, candidates=4, body_bytes=20_000, sessions=5)


def test_every_operation_is_described(models):
    document = openapi(models, LIMITS, needs_token=False)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(each.method, each.path) for each in OPERATIONS} <= described
    assert len({method["operationId"] for path in document["paths"].values() for method in path.values()}) == len(
        described
    )
    assert "401" not in str(document) and "421" in str(document)
    secured = openapi(models, LIMITS, needs_token=True)
    assert secured["security"] == [{"token": []}] and "421" not in str(secured)
    assert secured["paths"]["/health"]["get"]["security"] == []


def test_limits_and_models_are_described(models):
    schemas = openapi(models, LIMITS, needs_token=False)["components"]["schemas"]
    assert schemas["NextRequest"]["properties"]["text"]["maxLength"] == 3000
    assert schemas["ScoreRequest"]["properties"]["texts"]["maxItems"] == 4
    assert schemas["ScoreRequest"]["properties"]["texts"]["items"]["maxLength"] == 3000
    assert schemas["GenerateRequest"]["properties"]["samples"]["maximum"] == 2
    assert schemas["TagRequest"]["properties"]["model"]["anyOf"][0]["enum"] == ["names"]
    assert schemas["CompletionRequest"]["properties"]["model"]["enum"] == ["words", "bytes"]
    # null is a value of every field of completions that may be left out
    fields = schemas["CompletionRequest"]["properties"]
    assert [name for name, field in fields.items() if {"type": "null"} not in field.get("anyOf", [])] == ["model"]
    assert (fields["n"]["anyOf"][0]["maximum"], fields["n"]["default"]) == (2, 1)
    assert fields["max_tokens"]["default"] <= fields["max_tokens"]["anyOf"][0]["maximum"]
    assert "'limit'" not in str(schemas)


@pytest.fixture(scope="module")
def fuzzed(models):
    """A client, and the operations of the document of its server."""
    service = Service(models, LIMITS)
    document = openapi(models, LIMITS, needs_token=False)
    operations = {}
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        operations[operation.definition.raw["operationId"]] = operation
    with TestClient(application(service), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client, operations


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", [each.name for each in OPERATIONS if each.request is not None])
def test_fuzzed_requests(fuzzed, name, mode):
    client, operations = fuzzed

    @settings(
        max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None,
        database=None, derandomize=True,
    )  # fmt: skip
    @given(case=operations[name].as_strategy(generation_mode=mode))
    def fuzz(case):
        sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
        sent = {key: value for key, value in sent.items() if value}
        # what is no JSON is called data by one and content by the other
        sent |= {"content": sent.pop("data")} if "data" in sent else {}
        case.validate_response(client.request(**sent))

    fuzz()
