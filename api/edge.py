"""What surrounds every route: nothing is cached, and nothing leaves as a bare 500."""

import traceback

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import respond
from domain.errors import Unavailable

log = structlog.get_logger()


class NeverCached:
    """ASGI middleware: answers hold balances and secrets, and are nobody's to keep (RFC 9111, `no-store`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, marked)


class LastResort:
    """ASGI middleware: what no handler expected is logged, and answered as a problem.

    Starlette's own would hand the exception on to the server, which logs its text: and that may quote a row, with
    somebody's name in it. Logged here are its type and the lines that it passed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            # Nobody is there to be answered. What was accepted before goes on, as its row says.
            log.info("client gone", path=scope["path"])
        except Exception as error:
            log.error(
                "unexpected error",
                path=scope["path"],
                error=type(error).__name__,
                lines=traceback.format_tb(error.__traceback__),
            )
            if started:
                raise RuntimeError("an answer broke off") from None
            await respond(Unavailable("Something unexpected happened; it was logged."))(scope, receive, send)
