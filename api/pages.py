"""Cursor pagination: newest first, a page and a cursor to the next."""

import base64
import json
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from domain.errors import InvalidField

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=100, description="How many to return at most.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]


class Page(BaseModel, Generic[Item]):
    """One page. `next_cursor` is null on the last."""

    data: list[Item]
    next_cursor: str | None = Field(
        description="Send as `cursor` to get the next page.",
        examples=["WyJkZXBfMDZqazB6ZjlxOHN3ZHQ3eTRwM3ZtMWIycXIiXQ"],
    )


def encode(position: list[int | str]) -> str:
    """An opaque cursor for a position."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode(cursor: str | None, *types: type) -> list[int | str] | None:
    """The position that `encode` was given. Raises `InvalidField` for anything else."""
    if cursor is None:
        return None
    try:
        position = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except ValueError:
        position = None
    if (
        not isinstance(position, list)
        or [type(part) for part in position] != list(types)
        or not all(_plausible(part) for part in position)
    ):
        raise InvalidField("cursor", "This is not a cursor that we gave out.", remedy="Start again without a cursor.")
    return position


def _plausible(part: int | str) -> bool:
    return 0 <= part < 2**63 if isinstance(part, int) else part.isascii() and part.isprintable()
