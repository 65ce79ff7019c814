"""How a client's request is read: first who asks, then what they say, strictly."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import strict_json
from api.auth import identify
from domain.errors import MalformedRequest, NotFound


class ClientRequest(Request):
    """A request whose `json()` is an object, read strictly. No body counts as an empty object."""

    _object: dict[str, Any] | None = None

    async def json(self) -> dict[str, Any]:
        """Raises `MalformedRequest`."""
        if self._object is None:
            body = await self.body()
            media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if body and media_type != "application/json":
                raise MalformedRequest(f"The body is said to be {media_type or 'of no type'}, not application/json.")
            self._object = strict_json.read_object(body) if body else {}
        return self._object


class ClientRoute(APIRoute):
    """A route for those who hold a token. Nobody else's body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, behind the check of who asks."""
        handle = super().get_route_handler()

        async def handle_known(request: Request) -> Response:
            known = ClientRequest(request.scope, request.receive)
            known.state.caller = await identify(known)
            if "\x00" in known.url.path:
                # Postgres, asked for such an id, would not say "no" but fail.
                raise NotFound("There is nothing of this name.")
            if self.body_field is not None:
                await known.json()
            return await handle(known)

        return handle_known
