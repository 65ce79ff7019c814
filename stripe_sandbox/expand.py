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
            rest = segments[length:]
            if isinstance(holder[last], dict) and holder[last].get("object") == "list":
                _expand_in_list(api, unit, holder[last], rest, path)
                return
            holder[last], there = _shown(unit, holder[last])
            if rest and isinstance(holder[last], dict):
                _expand_in(api, there, holder[last], rest, path)
            return
    raise _cannot(path)


def _expand_in_list(api: Api, unit: Unit, shown: Json, segments: list[str], path: str) -> None:
    """In a list that an object holds: `reversals.data.balance_transaction`. The list alone is shown anyway."""
    if segments and segments[0] != "data":
        raise _cannot(path)
    for item in shown["data"] if segments[1:] else []:
        _expand_in(api, unit, item, segments[1:], path)


def _holder(shown: Json, segments: list[str]) -> tuple[Json | None, str]:
    """The record that holds the last segment, or None where the path is null."""
    record: Any = shown
    for segment in segments[:-1]:
        record = record.get(segment)
        if record is None:
            return None, segments[-1]
    return record, segments[-1]


def _shown(unit: Unit, value: Any) -> tuple[Any, Unit]:
    """The object behind an id, and the view of its account; what is expanded already stays.

    A platform sees into its connected accounts: a transfer's payment is an object of theirs.
    """
    found = unit.store.locate(unit.scope, value if isinstance(value, str) else value["id"])
    if found is None:
        return value, unit
    scope, stored = found
    there = unit.at(scope.account)
    if not isinstance(value, str) or (stored.deleted and stored.kind not in unit.renderers):
        return value, there
    # A deep copy: a second path may expand inside it.
    return copy.deepcopy(there.show(stored)), there


def _cannot(path: str) -> StripeError:
    return invalid_param(f"This property cannot be expanded ({path}).", "expand")
