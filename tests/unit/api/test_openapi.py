"""The OpenAPI document: complete, valid where it counts, and its examples keep to their own schemas."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import SecretStr

from api.app import create_app
from shared.contracts.registry import offered_kinds
from shared.settings import ApiSettings

ROOT = Path(__file__).parents[3]
KINDS = offered_kinds(noop=True)
METHODS = {"get", "post", "delete", "put", "patch"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = ApiSettings(
        home=tmp_path_factory.mktemp("home"),
        secret_key=SecretStr("x" * 40),
        models_file=ROOT / "models.toml",
        enable_noop=True,
    )
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    }


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that stands on its own."""
    return {**schema, "components": document["components"]}


def test_operations_have_stable_names(document: dict[str, Any]) -> None:
    count = sum(method in METHODS for path in document["paths"].values() for method in path)
    found = operations(document)
    assert len(found) == count
    assert {f"submit_{kind}" for kind in KINDS} < set(found)
    assert {"submit_batch", "get_job", "list_jobs", "cancel_job", "retry_job", "delete_job"} < set(found)
    assert all(name.replace("_", "").isalpha() and name.islower() for name in found)
    assert all(operation.get("summary") for operation in found.values())


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                assert reference.removeprefix("#/components/schemas/") in schemas, reference
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)
    assert "HTTPValidationError" not in schemas
    for name, schema in schemas.items():
        assert schema.get("title", name) == name
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "name",
    [
        *(f"submit_{kind}" for kind in KINDS),
        "submit_batch",
        "create_collection",
        "create_key",
        "put_label_set",
        "edit_tags",
    ],
)
def test_examples_keep_to_their_schemas(document: dict[str, Any], name: str) -> None:
    media = operations(document)[name]["requestBody"]["content"]["application/json"]
    validator = jsonschema.Draft202012Validator(resolved(document, media["schema"]))
    validator.validate(media["example"])
    assert not validator.is_valid(media["example"] | {"unknown": 1})


def test_bodies_and_answers_are_typed(document: dict[str, Any]) -> None:
    submit = operations(document)["submit_embed"]
    assert submit["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/EmbedRequest")
    assert submit["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/EmbedJob")
    output = document["components"]["schemas"]["EmbedJob"]["properties"]["output"]
    assert {"$ref": "#/components/schemas/EmbedOutput"} in output["anyOf"]
    entries = document["components"]["schemas"]["BatchRequest"]["properties"]["jobs"]["items"]
    assert set(entries["discriminator"]["mapping"]) == set(KINDS)


def test_every_operation_of_v1_names_its_problems(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for operation in methods.values():
            assert {"401", "403", "503"} <= set(operation["responses"]), operation["operationId"]
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], operation["operationId"]
            assert operation["security"], operation["operationId"]


def test_parameters_that_routes_read_themselves_are_told(document: dict[str, Any]) -> None:
    names = {parameter["name"] for parameter in operations(document)["submit_embed"]["parameters"]}
    assert names == {"Idempotency-Key", "Prefer", "Cancel-After"}
    listed = {parameter["name"] for parameter in operations(document)["list_jobs"]["parameters"]}
    assert {"kind", "status", "limit", "cursor", "created_after", "created_before"} <= listed
