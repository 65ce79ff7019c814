"""Why the story could not be told. Every message is one sentence that ends in the remedy.

StackError
└── StoryBroken      something did not answer, or answered what leaves the story no way on
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from cli.stack.errors import StackError

LONGEST_ANSWER = 500
"""Characters of an unexpected answer that are shown."""


class StoryBroken(StackError):
    """The story cannot go on. An expectation that is not met does not raise: the story is told to its end."""


@contextmanager
def told_by(who: str, http: httpx.AsyncClient) -> Iterator[None]:
    """Turns what `http` raises into `StoryBroken`. `who` is at its other end: `The API`."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise unexpected(who, error.response) from error
    except httpx.TransportError as error:
        raise StoryBroken(
            f"{who} at {http.base_url} does not answer ({type(error).__name__}): see its log, and that the stack"
            " still runs."
        ) from error


def unexpected(who: str, answer: httpx.Response) -> StoryBroken:
    """What to raise for an answer that the story did not foresee."""
    asked = f"{answer.request.method} {answer.request.url.path}"
    return StoryBroken(
        f"{who} answered {asked} with {answer.status_code}, which the story did not foresee; see its log."
        f" It said: {answer.text[:LONGEST_ANSWER]}"
    )
