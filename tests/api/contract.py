"""Holds every answer against the OpenAPI document that the API gives out."""

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator

PROBLEM = "application/problem+json"


class Contract:
    """What `/openapi.json` promises."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.checked = 0

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
        self.checked += 1

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """`value` is what `schema`, of the document, says."""
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(value)

    def route(self, method: str, path: str) -> dict[str, Any] | None:
        """The route that answers, if it is in the document."""
        for template, methods in sorted(self.document["paths"].items(), key=lambda entry: "{" in entry[0]):
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method.lower() in methods:
                found: dict[str, Any] = methods[method.lower()]
                return found
        return None

    def _problem(self) -> dict[str, Any]:
        return {"content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
