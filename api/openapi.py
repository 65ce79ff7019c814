"""The OpenAPI document: what FastAPI knows of the routes, made true and complete."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from api.problems import Problem

Json = dict[str, Any]


class DescribedAPI(FastAPI):
    """An application whose document has an example of everything that it takes and answers."""

    def openapi(self) -> Json:
        """Raises `LookupError` for a message whose model has no example, and whose fields have none either."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document: Json = super().openapi()
        self.openapi_schema = None  # Until it is complete.
        schemas = document["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs") | {"Problem": problem}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for schema in schemas.values():
            if "examples" in schema:
                schema["examples"] = [_with_nulls(one, schema, schemas) for one in schema["examples"]]
        for route in _routes(document):
            _describe(route, schemas)
        self.openapi_schema = document
        return document


def _routes(document: Json) -> Iterator[Json]:
    for methods in document["paths"].values():
        yield from methods.values()


def _describe(route: Json, schemas: Json) -> None:
    for parameter in route.get("parameters", []):
        # FastAPI takes a request without it, so that its absence is answered with our own problem.
        if parameter["name"].lower() == "idempotency-key":
            parameter |= {"name": "Idempotency-Key", "required": True, "schema": {"type": "string"}}
    # FastAPI adds its own form of a 422 wherever there is a parameter, be it a string that no value is wrong for.
    said = route["responses"].get("422", {}).get("content", {})
    if "HTTPValidationError" in str(said):
        del route["responses"]["422"]
    for message in (route.get("requestBody", {}), *route["responses"].values()):
        content = message.get("content", {}).get("application/json")
        if content is not None and "example" not in content:
            content["example"] = _example(content["schema"], schemas)


def _example(schema: Json, schemas: Json) -> Any:
    schema = _resolved(schema, schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    if "default" in schema:
        return schema["default"]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas)
    if schema.get("type") == "array":
        return [_example(schema["items"], schemas)]
    if "properties" in schema:
        return {name: _example(part, schemas) for name, part in schema["properties"].items()}
    raise LookupError(f"no example of {schema}")


def _with_nulls(example: Any, schema: Json, schemas: Json) -> Any:
    """An example as its model wrote it: FastAPI leaves out every null that it copies."""
    schema = _resolved(schema, schemas)
    if isinstance(example, list):
        return [_with_nulls(one, schema.get("items", {}), schemas) for one in example]
    if not isinstance(example, dict) or "properties" not in schema:
        return example
    shown = {name: None for name in schema.get("required", []) if name not in example} | example
    return {name: _with_nulls(part, schema["properties"][name], schemas) for name, part in shown.items()}


def _resolved(schema: Json, schemas: Json) -> Json:
    found: Json = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found
