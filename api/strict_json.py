"""JSON as others send it, read without surprises."""

import json
from typing import Any

from db.jsonb import DEEPEST, unstorable
from domain.errors import MalformedRequest

_LONGEST_INTEGER = 100
"""Digits. Python refuses to read 4300 of them, and takes its time before."""


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


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Which of the two counts is anybody's guess, and a proxy's may differ from ours.
        raise ValueError("a name occurs twice in one object")
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
