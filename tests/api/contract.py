"""Holds every answer against the OpenAPI document that the API gives out."""

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

PROBLEM = "application/problem+json"


class Contract:
    """What `/openapi.json` promises."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._validators: dict[str, Draft202012Validator] = {}

    async def check(self, answer: httpx.Response) -> None:
        """An httpx hook: the answer's status, media type, body and headers are as its route says."""
        await answer.aread()
        where = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}"
        if answer.request.url.path in ("/openapi.json", "/docs"):
            return
        assert answer.headers["cache-control"] == "no-store", where
        route = self.route(answer.request.method, answer.request.url.path)
        if route is None:
            assert answer.status_code in (401, 404, 405), where
            promised = self._problem()
        else:
            assert str(answer.status_code) in route["responses"], where
            promised = route["responses"][str(answer.status_code)]
        media_type = answer.headers["content-type"]
        assert (media_type == PROBLEM) == (answer.status_code >= 400), where
        self.validate(answer.json(), promised["content"][media_type]["schema"])
        if media_type == PROBLEM:
            assert answer.json()["status"] == answer.status_code, where
            examples = promised["content"][PROBLEM].get("examples")
            assert examples is None or answer.json()["type"].rpartition("/")[2] in examples, where
        assert (answer.headers.get("www-authenticate") == "Bearer") == (answer.status_code == 401), where
        assert ("retry-after" in answer.headers) == (answer.status_code == 503), where

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """`value` is what `schema`, of the document, says."""
        name = str(schema)
        if name not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[name] = Draft202012Validator(whole)
        error = best_match(self._validators[name].iter_errors(value))
        assert error is None, str(error)

    def route(self, method: str, path: str) -> dict[str, Any] | None:
        """The route that answers, if it is in the document."""
        for template, methods in sorted(self.document["paths"].items(), key=lambda entry: "{" in entry[0]):
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method.lower() in methods:
                found: dict[str, Any] = methods[method.lower()]
                return found
        return None

    def _problem(self) -> dict[str, Any]:
        return {"content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
