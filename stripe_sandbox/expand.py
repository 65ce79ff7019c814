"""`expand[]`: showing objects where an answer holds their ids. https://docs.stripe.com/api/expanding_objects"""

import copy
from typing import Any

from stripe_sandbox.errors import StripeError, invalid_param
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.resource import Api
from stripe_sandbox.unit import Unit

MAX_DEPTH = 4


def expand(api: Api, unit: Unit, answer: Json, paths: list[str]) -> Json:
    """The answer with every path shown as an object. A path that cannot be expanded is an error, as at Stripe."""
    if not paths:
        return answer
    answer = copy.deepcopy(answer)
    for path in paths:
        segments = path.split(".")
        if len(segments) > MAX_DEPTH:
            raise invalid_param(
                f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}", "expand"
            )
        if answer["object"] == "list":
            if segments[0] != "data" or len(segments) == 1:
                raise _cannot(path)
            for item in answer["data"]:
                _expand_in(api, unit, item, segments[1:], path)
        else:
            _expand_in(api, unit, answer, segments, path)
    return answer


def _expand_in(api: Api, unit: Unit, shown: Json, segments: list[str], path: str) -> None:
    names = api.expandable.get(shown["object"], frozenset())
    for length in range(len(segments), 0, -1):
        name = ".".join(segments[:length])
        if name in names:
            holder, last = _holder(shown, segments[:length])
            if holder is None or holder.get(last) is None:
                return
            holder[last] = _shown(unit, holder[last])
            if segments[length:]:
                _expand_in(api, unit, holder[last], segments[length:], path)
            return
    raise _cannot(path)


def _holder(shown: Json, segments: list[str]) -> tuple[Json | None, str]:
    """The record that holds the last segment, or None where the path is null."""
    record: Any = shown
    for segment in segments[:-1]:
        record = record.get(segment)
        if record is None:
            return None, segments[-1]
    return record, segments[-1]


def _shown(unit: Unit, value: Any) -> Any:
    """The object behind an id; what is expanded already stays."""
    if not isinstance(value, str):
        return value
    stored = unit.store.find(unit.scope, value)
    # A deep copy: a second path may expand inside it.
    return value if stored is None else copy.deepcopy(unit.show(stored))


def _cannot(path: str) -> StripeError:
    return invalid_param(f"This property cannot be expanded ({path}).", "expand")
