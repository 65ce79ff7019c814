"""No body larger than any request needs: refused while it streams in, so that memory stays flat."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import respond
from domain.errors import BodyTooLarge

LARGEST_BODY = 1024 * 1024
"""Bytes."""


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > LARGEST_BODY:
            await _refuse(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > LARGEST_BODY:
                raise _TooLarge
            return message

        try:
            await self._app(scope, counted, send)
        except _TooLarge:
            await _refuse(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(BodyTooLarge(f"The body is larger than {LARGEST_BODY} bytes."))(scope, receive, send)


class _TooLarge(BaseException):
    """Past every handler of the app, back to the middleware; nothing was answered yet."""
