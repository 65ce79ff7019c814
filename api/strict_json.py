"""JSON as others send it, read without surprises."""

import json
import math
import re
from typing import Any

from domain.errors import MalformedRequest

DEEPEST = 32
"""Levels of nesting. Nothing that we or Stripe send comes near it."""

_LONGEST_INTEGER = 100
"""Digits. Python refuses to read 4300 of them, and takes its time before."""

_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What Postgres keeps in no text: NUL, and halves of a character."""


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is, with every name once. Raises `MalformedRequest`.

    Numbers that no field takes (NaN, 1e999, a thousand digits) come back as floats, so that the field they were sent
    for refuses them by its name.
    """
    try:
        value = json.loads(body.decode(), object_pairs_hook=_once_each, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise MalformedRequest("The body is not UTF-8.") from error
    except RecursionError as error:
        raise MalformedRequest(f"The body is nested deeper than {DEEPEST} levels.") from error
    except ValueError as error:
        raise MalformedRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise MalformedRequest("The body is not a JSON object.", remedy="Send an object: { … }.")
    flaw = unstorable(value, numbers=False)
    if flaw is not None:
        raise MalformedRequest(f"The body cannot be kept: it {flaw}.")
    return value


def unstorable(value: Any, *, numbers: bool = True) -> str | None:
    """Why Postgres could not keep parsed JSON as `jsonb`; None if it could. `numbers`: whether to look at those too."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str) and _NO_TEXT.search(one):
                return "holds a NUL character or an unpaired surrogate"
            elif numbers and isinstance(one, float) and not math.isfinite(one):
                return "holds a number that is not finite"
        if not inner:
            return None
        level = inner
    return f"is nested deeper than {DEEPEST} levels"


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Which of the two counts is anybody's guess, and a proxy's may differ from ours.
        raise ValueError("a name occurs twice in one object")
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
