"""How a resource declares itself, and the operations that every resource has alike.

A resource module exports one `Resource`: its operations (method, path, parameters, function), which of its fields
expand, its jobs. Everything around an operation (authentication, idempotency, validation, expansion, errors) is the
gateway's, written once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stripe_sandbox.errors import invalid_param, unrecognized_url
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import Param, Params, array, integer, optional, string, time_range
from stripe_sandbox.store import Filter
from stripe_sandbox.unit import Render, Unit


class Call(NamedTuple):
    """A validated request: the ids from its path, and its parameters."""

    path: Mapping[str, str]
    params: Json


Run = Callable[[Unit, Call], Json]
Job = Callable[[Unit, Json], None]


@dataclass(frozen=True)
class Operation:
    """One method on one path. `unmodelled`: parameters that Stripe has and the sandbox refuses by name."""

    method: str
    path: str
    run: Run
    params: Params = field(default_factory=dict)
    unmodelled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Resource:
    """One kind of object.

    expandable: fields that hold an id and can show the object instead; dots reach into records.
    jobs: what the scheduler does later, by name.
    render: for a kind whose shown form is more than its stored body.
    """

    kind: str
    operations: tuple[Operation, ...]
    expandable: frozenset[str] = frozenset()
    jobs: Mapping[str, Job] = field(default_factory=dict)
    render: Render | None = None


class Api:
    """All resources together: routing, and what the gateway must know of each kind."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        resources = tuple(resources)
        self.expandable = {resource.kind: resource.expandable for resource in resources}
        self.renderers = {resource.kind: resource.render for resource in resources if resource.render is not None}
        self.jobs = {name: job for resource in resources for name, job in resource.jobs.items()}
        self._routes: dict[tuple[str, int], list[tuple[list[str], Operation]]] = {}
        for resource in resources:
            for operation in resource.operations:
                segments = operation.path.strip("/").split("/")
                self._routes.setdefault((operation.method, len(segments)), []).append((segments, operation))

    def match(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """The operation at this path and the ids in it. Raises Stripe's 404 for an unknown path or method."""
        segments = path.strip("/").split("/")
        for pattern, operation in self._routes.get((method, len(segments)), []):
            ids: dict[str, str] = {}
            for expected, actual in zip(pattern, segments, strict=True):
                if expected.startswith("{"):
                    ids[expected[1:-1]] = actual
                elif expected != actual:
                    break
            else:
                return operation, ids
        raise unrecognized_url(method, path)


# ── Retrieve ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def retrieve(path: str, kind: str, *, param: str = "id") -> Operation:
    """GET of one object; `param` is what Stripe names in its 404."""
    placeholder = path[path.rindex("{") + 1 : -1]

    def run(unit: Unit, call: Call) -> Json:
        return unit.show(unit.get(kind, call.path[placeholder], param, in_path=True))

    return Operation("GET", path, run)


# ── List ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class ListFilter(NamedTuple):
    """A list parameter and the condition that its value means."""

    param: Param
    condition: Callable[[Any], Filter]


def equals(name: str, *, choices: Iterable[str] | None = None) -> ListFilter:
    """Objects whose field `name` has this value."""
    return ListFilter(
        optional(string(choices=choices)), lambda value: Filter(f"json_extract(body, '$.{name}') = ?", (value,))
    )


_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _created_within(bounds: dict[str, int]) -> Filter:
    if not bounds:
        return Filter("1", ())
    sql = " AND ".join(f"created {_COMPARISONS[name]} ?" for name in bounds)
    return Filter(sql, tuple(bounds.values()))


CREATED = ListFilter(optional(time_range), _created_within)
"""`created=…` or `created[gte]=…`, in Unix seconds."""


def listing(
    path: str,
    kind: str,
    filters: Mapping[str, ListFilter],
    *,
    always: Callable[[Unit, Call], list[Filter]] = lambda unit, call: [],
    unmodelled: frozenset[str] = frozenset(),
) -> Operation:
    """GET of a page, newest first. `always` adds conditions that no parameter states."""
    params: dict[str, Param] = {
        "limit": optional(integer(1, 100)),
        "starting_after": optional(string()),
        "ending_before": optional(string()),
        **{name: list_filter.param for name, list_filter in filters.items()},
    }

    def run(unit: Unit, call: Call) -> Json:
        given = call.params
        if "starting_after" in given and "ending_before" in given:
            raise invalid_param(
                "You can only specify one of these parameters: starting_after, ending_before.",
                "ending_before",
                "parameters_exclusive",
            )
        conditions = [filters[name].condition(value) for name, value in given.items() if name in filters]
        page, has_more = unit.store.page(
            unit.scope,
            kind,
            [*always(unit, call), *conditions],
            limit=given.get("limit", 10),
            after=_cursor(unit, kind, given, "starting_after"),
            before=_cursor(unit, kind, given, "ending_before"),
        )
        url = path.format_map(call.path)
        return {"object": "list", "data": [unit.show(stored) for stored in page], "has_more": has_more, "url": url}

    return Operation("GET", path, run, params, unmodelled)


def _cursor(unit: Unit, kind: str, given: Json, name: str) -> int | None:
    return unit.get(kind, given[name], name).seq if name in given else None


EXPAND: Params = {"expand": optional(array(string()))}
"""Accepted by every operation."""
