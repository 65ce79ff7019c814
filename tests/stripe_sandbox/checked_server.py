"""The Stripe sandbox with every answer and every webhook checked against Stripe's OpenAPI document.

`python -m tests.stripe_sandbox.checked_server --host … --port … --data … --violations FILE`: what is wrong is appended
to FILE, one line each, and the request answered 500 with the same text, so that nothing can be built on a wrong shape.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stripe_sandbox.server import create_app, run
from tests.stripe_sandbox.oracle import check_event, check_response


class Violations:
    """The file that must stay empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def add(self, what: str, problems: list[str]) -> str:
        """Note what is wrong; returns the text."""
        text = "".join(f"{what}: {problem}\n" for problem in problems)
        with self._path.open("a") as file:
            file.write(text)
        return text


class CheckedResponses:
    """Middleware: holds back each answer of /v1 until it was checked."""

    def __init__(self, app: ASGIApp, violations: Violations) -> None:
        self._app = app
        self._violations = violations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request's answer."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1"):
            await self._app(scope, receive, send)
            return
        start: Message = {}

        async def checked(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if not message.get("more_body"):
                text = self._problems(scope, start["status"], message["body"])
                if text:
                    await PlainTextResponse(text, 500)(scope, receive, send)
                    return
            # An answer that a planted fault cuts short goes out as it is: the rest would never come.
            await send(start)
            await send(message)

        await self._app(scope, receive, checked)

    def _problems(self, scope: Scope, status: int, body: bytes) -> str:
        problems = check_response(scope["method"], scope["path"], status, json.loads(body))
        return self._violations.add(f"{scope['method']} {scope['path']} {status}", problems) if problems else ""


class CheckedWebhooks(httpx.AsyncHTTPTransport):
    """The sandbox's way out: checks each event before it is sent."""

    def __init__(self, violations: Violations) -> None:
        super().__init__()
        self._violations = violations

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Check, then send."""
        event: dict[str, Any] = json.loads(request.content)
        problems = check_event(event)
        if problems:
            self._violations.add(f"webhook {event['type']}", problems)
        return await super().handle_async_request(request)


def main() -> None:
    """Serve the checked sandbox."""
    parser = argparse.ArgumentParser(prog="checked_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--violations", type=Path, required=True)
    arguments = parser.parse_args()
    violations = Violations(arguments.violations)
    app = create_app(arguments.data, webhook_transport=CheckedWebhooks(violations))
    run(CheckedResponses(app, violations), arguments.host, arguments.port)


if __name__ == "__main__":
    main()
