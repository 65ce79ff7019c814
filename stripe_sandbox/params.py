"""Request parameters: Stripe's bracket form in, checked Python values out.

`parse_form` turns `a[b][0][c]=x` into nested dictionaries. A resource declares its parameters as a mapping of name to
`Param`; `validate` refuses what is unknown, missing or of the wrong type with the error Stripe would give.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from stripe_sandbox.errors import invalid_param, invalid_request, not_modelled
from stripe_sandbox.jsontypes import Json

Check = Callable[[str, Any], Any]
"""Takes the parameter's full name and its raw value; returns the value or raises."""

MAX_NESTING = 12
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 40, 500


@dataclass(frozen=True)
class Param:
    """One parameter. Unsettable: an empty string clears it (the value is then None)."""

    check: Check
    required: bool = False
    unsettable: bool = False


Params = Mapping[str, Param]


def required(check: Check) -> Param:
    """A parameter without which the request fails."""
    return Param(check, required=True)


def optional(check: Check) -> Param:
    """A parameter that may be absent but not empty."""
    return Param(check)


def clearable(check: Check) -> Param:
    """A parameter that an empty string unsets."""
    return Param(check, unsettable=True)


# ── The bracket form ─────────────────────────────────────────────────────────────────────────────────────────────────

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def parse_form(*encoded: bytes) -> Json:
    """Nested parameters of `application/x-www-form-urlencoded` texts; where one repeats, the last counts.

    Arrays come as `a[]=x` or `a[0]=x` and stay dictionaries until `array` reads them: only the declaration knows.
    """
    tree: Json = {}
    for text in encoded:
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise invalid_request("Invalid request: the parameters are not valid UTF-8.", storable=False) from error
        for key, value in pairs:
            _insert(tree, _segments(key), value, key)
    return tree


def _segments(key: str) -> list[str]:
    match = _KEY.fullmatch(key)
    if match is None:
        return [key]
    segments = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    if len(segments) > MAX_NESTING:
        raise invalid_param("Parameters are nested too deeply.", key)
    return segments


def _insert(tree: Json, segments: list[str], value: str, key: str) -> None:
    for position, segment in enumerate(segments):
        name = segment if segment or position == 0 else str(len(tree))
        if position == len(segments) - 1:
            if isinstance(tree.get(name), dict):
                raise invalid_param(f"Invalid parameter: {key} is both a value and an object.", key)
            tree[name] = value
            return
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise invalid_param(f"Invalid parameter: {key} is both a value and an object.", key)
        tree = child


# ── Validation ───────────────────────────────────────────────────────────────────────────────────────────────────────


def validate(raw: Json, declared: Params, *, unmodelled: Iterable[str] = (), parent: str = "") -> Json:
    """The checked parameters. Absent ones are absent from the result; cleared ones are None."""
    result: Json = {}
    for name, value in raw.items():
        full = f"{parent}[{name}]" if parent else name
        param = declared.get(name)
        if param is None:
            if name in unmodelled:
                raise not_modelled(f"the parameter '{full}'", full)
            raise invalid_param(f"Received unknown parameter: {full}", full, "parameter_unknown")
        if value == "":
            _check_unsettable(full, param)
            result[name] = None
        else:
            result[name] = param.check(full, value)
    for name, param in declared.items():
        if param.required and name not in result:
            full = f"{parent}[{name}]" if parent else name
            raise invalid_param(f"Missing required param: {full}.", full, "parameter_missing")
    return result


def _check_unsettable(name: str, param: Param) -> None:
    if not param.unsettable:
        raise invalid_param(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty "
            "value.",
            name,
            "parameter_invalid_empty",
        )


def string(max_length: int = 5000, *, choices: Iterable[str] | None = None, pattern: str | None = None) -> Check:
    """Text, perhaps one of a fixed set."""
    allowed = None if choices is None else tuple(choices)
    compiled = None if pattern is None else re.compile(pattern)

    def check(name: str, raw: Any) -> str:
        if not isinstance(raw, str):
            raise invalid_param("Invalid string: " + str(raw), name)
        if len(raw) > max_length:
            raise invalid_param(f"Invalid string: {raw[:10]}...; must be at most {max_length} characters", name)
        if allowed is not None and raw not in allowed:
            raise invalid_param(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
        if compiled is not None and compiled.fullmatch(raw) is None:
            raise invalid_param(f"Invalid {name}: {raw}", name)
        return raw

    return check


def integer(minimum: int | None = None, maximum: int | None = None) -> Check:
    """A whole number. "10.0", "1e3" and "true" are none."""

    def check(name: str, raw: Any) -> int:
        if not isinstance(raw, str) or re.fullmatch(r"[+-]?[0-9]{1,19}", raw) is None or abs(int(raw)) >= 2**63:
            raise invalid_param(f"Invalid integer: {raw}", name, "parameter_invalid_integer")
        value = int(raw)
        if minimum is not None and value < minimum:
            raise invalid_param(
                f"This value must be greater than or equal to {minimum}.", name, "parameter_invalid_integer"
            )
        if maximum is not None and value > maximum:
            raise invalid_param(
                f"This value must be less than or equal to {maximum} (it currently is '{value}').",
                name,
                "parameter_invalid_integer",
            )
        return value

    return check


def boolean(name: str, raw: Any) -> bool:
    """`true` or `false`, spelled so."""
    if raw not in ("true", "false"):
        raise invalid_param(f"Invalid boolean: {raw}", name)
    return bool(raw == "true")


def email(name: str, raw: Any) -> str:
    """An e-mail address, as loosely as Stripe looks at it."""
    value: str = string(512)(name, raw)
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) is None:
        raise invalid_param(f"Invalid email address: {value}", name, "email_invalid")
    return value


def url(name: str, raw: Any) -> str:
    """An absolute http(s) URL."""
    value: str = string()(name, raw)
    if re.fullmatch(r"https?://[^\s/]+.*", value) is None:
        raise invalid_param("Not a valid URL", name, "url_invalid")
    return value


def fields(declared: Params) -> Check:
    """An object with declared members."""

    def check(name: str, raw: Any) -> Json:
        if not isinstance(raw, dict):
            raise invalid_param("Invalid object", name)
        return validate(raw, declared, parent=name)

    return check


def array(item: Check, max_items: int = 100) -> Check:
    """A list, in the order of its indices."""

    def check(name: str, raw: Any) -> list[Any]:
        if not isinstance(raw, dict) or not all(re.fullmatch(r"[0-9]{1,4}", key) for key in raw):
            raise invalid_param("Invalid array", name)
        if len(raw) > max_items:
            raise invalid_param(f"Array too long: at most {max_items} items", name)
        return [item(f"{name}[{key}]", raw[key]) for key in sorted(raw, key=int)]

    return check


def metadata(name: str, raw: Any) -> dict[str, str]:
    """Key-value text. A value of "" is kept here and deletes its key in `merge_metadata`."""
    if not isinstance(raw, dict):
        raise invalid_param("Invalid object", name)
    if len(raw) > MAX_METADATA_KEYS:
        raise invalid_param(f"Metadata can have up to {MAX_METADATA_KEYS} keys", name)
    for key, value in raw.items():
        full = f"{name}[{key}]"
        if not isinstance(value, str):
            raise invalid_param("Metadata values must be strings", full)
        if len(key) > MAX_METADATA_KEY:
            raise invalid_param(f"Metadata keys must be {MAX_METADATA_KEY} characters or less", full)
        if len(value) > MAX_METADATA_VALUE:
            raise invalid_param(f"Metadata values must be {MAX_METADATA_VALUE} characters or less", full)
    return raw


def merge_metadata(current: dict[str, str], change: dict[str, str] | None) -> dict[str, str]:
    """Stripe's update rule: keys merge, an empty value deletes its key, empty metadata (None) deletes all."""
    if change is None:
        return {}
    merged = {key: value for key, value in {**current, **change}.items() if value != ""}
    if len(merged) > MAX_METADATA_KEYS:
        raise invalid_param(f"Metadata can have up to {MAX_METADATA_KEYS} keys", "metadata")
    return merged


def time_range(name: str, raw: Any) -> dict[str, int]:
    """A Unix timestamp, or bounds: gt, gte, lt, lte."""
    if isinstance(raw, str):
        return {"eq": integer()(name, raw)}
    bounds = {bound: optional(integer()) for bound in ("gt", "gte", "lt", "lte")}
    checked: dict[str, int] = fields(bounds)(name, raw)
    return checked


ADDRESS: Params = {part: clearable(string()) for part in ("city", "country", "line1", "line2", "postal_code", "state")}

SHIPPING: Params = {
    "address": required(fields(ADDRESS)),
    "carrier": clearable(string()),
    "name": required(string()),
    "phone": clearable(string()),
    "tracking_number": clearable(string()),
}


def complete(value: Json | None, declared: Params) -> Json | None:
    """A nested record with every declared member present, absent ones null: how Stripe shows addresses."""
    return None if value is None else {name: value.get(name) for name in declared}


def complete_shipping(value: Json | None) -> Json | None:
    """A shipping record as Stripe shows it."""
    shown = complete(value, SHIPPING)
    if shown is not None:
        shown["address"] = complete(shown["address"], ADDRESS)
    return shown
