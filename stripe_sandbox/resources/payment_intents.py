"""PaymentIntents. https://docs.stripe.com/api/payment_intents"""

from typing import Any

from stripe_sandbox import money
from stripe_sandbox.errors import invalid_param, not_modelled, resource_missing
from stripe_sandbox.events import publish
from stripe_sandbox.ids import derived_id, random_text
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    SHIPPING,
    Params,
    array,
    boolean,
    clearable,
    complete_shipping,
    email,
    fields,
    merge_metadata,
    metadata,
    optional,
    required,
    string,
    url,
)
from stripe_sandbox.resource import CREATED, Call, Operation, Resource, equals, listing
from stripe_sandbox.resources.payment_flow import (
    OPEN,
    Confirmation,
    cancel,
    check_usable,
    confirm,
    unexpected_state,
)
from stripe_sandbox.resources.payment_methods import PAYMENT_METHOD_DATA, create_from_data, materialize
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit


def _card_type(name: str, raw: Any) -> str:
    if raw != "card":
        raise not_modelled(f"the payment method type '{raw}'", name)
    return "card"


def _off_session(name: str, raw: Any) -> bool:
    """A boolean, or why the customer is absent; either reason means that nobody can authenticate."""
    return True if raw in ("one_off", "recurring") else boolean(name, raw)


def _capture_method(name: str, raw: Any) -> str:
    if raw == "manual":
        raise not_modelled("manual capture", name)
    value: str = string(choices=("automatic", "automatic_async", "manual"))(name, raw)
    return value


def _confirmation_method(name: str, raw: Any) -> str:
    if raw == "manual":
        raise not_modelled("manual confirmation", name)
    value: str = string(choices=("automatic", "manual"))(name, raw)
    return value


_AUTOMATIC: Params = {
    "allow_redirects": optional(string(choices=("always", "never"))),
    "enabled": required(boolean),
}

_SHARED: Params = {
    "allowed_payment_method_types": optional(array(_card_type)),
    "capture_method": optional(_capture_method),
    "description": clearable(string(1000)),
    "metadata": clearable(metadata),
    "payment_method": clearable(string()),
    "payment_method_data": optional(fields(PAYMENT_METHOD_DATA)),
    "receipt_email": clearable(email),
    "setup_future_usage": clearable(string(choices=("off_session", "on_session"))),
    "shipping": clearable(fields(SHIPPING)),
    "statement_descriptor_suffix": optional(string(22)),
    "transfer_group": optional(string()),
}

_CONFIRMING: Params = {
    "error_on_requires_action": optional(boolean),
    "off_session": optional(_off_session),
    "return_url": optional(url),
    "use_stripe_sdk": optional(boolean),
}

_CREATE: Params = {
    **_SHARED,
    **_CONFIRMING,
    "amount": required(money.amount),
    "automatic_payment_methods": optional(fields(_AUTOMATIC)),
    "confirm": optional(boolean),
    "confirmation_method": optional(_confirmation_method),
    "currency": required(money.currency),
    "customer": optional(string()),
}

_UPDATE: Params = {
    **_SHARED,
    "amount": optional(money.amount),
    "currency": optional(money.currency),
    "customer": optional(string()),
}

_CONFIRM: Params = {
    **_CONFIRMING,
    **{
        name: _SHARED[name]
        for name in ("payment_method_data", "receipt_email", "setup_future_usage", "shipping", "capture_method")
    },
    "client_secret": optional(string()),
    "payment_method": optional(string()),
}

_UNMODELLED = frozenset(
    "amount_details amount_to_confirm application_fee_amount confirmation_token customer_account "
    "excluded_payment_method_types hooks mandate mandate_data on_behalf_of payment_details "
    "payment_method_configuration payment_method_options radar_options statement_descriptor transfer_data".split()
)

FROZEN_MEANWHILE = ("amount", "currency", "customer", "payment_method", "setup_future_usage", "shipping")
"""What can be updated only while the intent is open."""


# ── Create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _create(unit: Unit, call: Call) -> Json:
    given = call.params
    if not given.get("confirm"):
        for name in _CONFIRMING:
            if name in given:
                raise invalid_param(f"You can only pass `{name}` together with `confirm=true`.", name)
    money.check_amount(given["amount"], given["currency"])
    _check_references(unit, given)
    intent = unit.add(
        "payment_intent", "pi", _new_body(unit, given), {"return_url": None, "three_d_secure_token": None}
    )
    unit.change(intent, client_secret=f"{intent.id}_secret_{random_text(25)}")
    _take_payment_method(unit, intent, given)
    publish(unit, "payment_intent.created", intent.body)
    if given.get("confirm"):
        confirm(unit, intent, _confirmation(given))
    return intent.body


def _new_body(unit: Unit, given: Json) -> Json:
    automatic = _automatic(given)
    return {
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": given.get("capture_method", "automatic_async"),
        "client_secret": None,
        "confirmation_method": "automatic",
        "currency": given["currency"],
        "customer": given.get("customer"),
        "customer_account": None,
        "description": given.get("description"),
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "managed_payments": None,
        "metadata": merge_metadata({}, given.get("metadata")),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None
        if automatic is None
        else {"id": derived_id("pmc", *unit.scope), "parent": None},
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": given.get("receipt_email"),
        "review": None,
        "setup_future_usage": given.get("setup_future_usage"),
        "shipping": complete_shipping(given.get("shipping")),
        "statement_descriptor": None,
        "statement_descriptor_suffix": given.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": given.get("transfer_group"),
    }


def _automatic(given: Json) -> Json | None:
    """Automatic payment methods: on unless the request names its types or turns them off."""
    chosen = given.get("automatic_payment_methods")
    if chosen is None:
        return None if "allowed_payment_method_types" in given else {"allow_redirects": "always", "enabled": True}
    if not chosen["enabled"]:
        return None
    return {"allow_redirects": chosen.get("allow_redirects", "always"), "enabled": True}


def _confirmation(given: Json) -> Confirmation:
    return Confirmation(
        return_url=given.get("return_url"),
        off_session=given.get("off_session", False),
        error_on_requires_action=given.get("error_on_requires_action", False),
        use_stripe_sdk=given.get("use_stripe_sdk", False),
    )


def _check_references(unit: Unit, given: Json) -> None:
    if given.get("customer") is not None:
        unit.get("customer", given["customer"], "customer")
    if given.get("payment_method") is not None and "payment_method_data" in given:
        raise invalid_param(
            "You may only specify one of these parameters: payment_method, payment_method_data.",
            "payment_method_data",
            "parameters_exclusive",
        )


def _take_payment_method(unit: Unit, intent: Stored, given: Json) -> None:
    """Put the given payment method on the intent; it then awaits confirmation."""
    if "payment_method_data" in given:
        payment_method = create_from_data(unit, given["payment_method_data"])
    elif given.get("payment_method") is not None:
        payment_method = materialize(unit, given["payment_method"])
    elif "payment_method" in given:
        unit.change(intent, payment_method=None, status="requires_payment_method")
        return
    else:
        return
    check_usable(intent, payment_method)
    unit.change(intent, payment_method=payment_method.id, status="requires_confirmation", next_action=None)


# ── Read ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_intent(unit: Unit, intent_id: str) -> Stored:
    """The intent named in a path."""
    return unit.get("payment_intent", intent_id, "intent", in_path=True)


def _find_with_secret(unit: Unit, call: Call) -> Stored:
    """The intent, provided that a client secret, where one is given, is its own."""
    intent = find_intent(unit, call.path["intent"])
    secret = call.params.get("client_secret")
    if secret is not None and secret != intent.body["client_secret"]:
        raise resource_missing("payment_intent", intent.id, "client_secret", in_path=False)
    return intent


def _retrieve(unit: Unit, call: Call) -> Json:
    return _find_with_secret(unit, call).body


# ── Change ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _update(unit: Unit, call: Call) -> Json:
    intent = find_intent(unit, call.path["intent"])
    given = call.params
    for name in FROZEN_MEANWHILE:
        if name in given and intent.body["status"] not in OPEN:
            raise unexpected_state(
                intent,
                f"This PaymentIntent's {name} could not be updated because it has a status of "
                f"{intent.body['status']}. You may only update the {name} of a PaymentIntent with one of the "
                f"following statuses: {', '.join(OPEN)}.",
            )
    _check_references(unit, given)
    if "amount" in given or "currency" in given:
        now = {**intent.body, **given}
        money.check_amount(now["amount"], now["currency"])
    unit.change(intent, **_changes(intent, given))
    _take_payment_method(unit, intent, given)
    return intent.body


def _changes(intent: Stored, given: Json) -> Json:
    changes = {
        name: value for name, value in given.items() if name in intent.body and not name.startswith("payment_method")
    }
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(intent.body["metadata"], changes["metadata"])
    if "shipping" in changes:
        changes["shipping"] = complete_shipping(changes["shipping"])
    if "allowed_payment_method_types" in changes:
        changes |= {"automatic_payment_methods": None, "payment_method_configuration_details": None}
    return changes


def _confirm(unit: Unit, call: Call) -> Json:
    intent = _find_with_secret(unit, call)
    given = {name: value for name, value in call.params.items() if name != "client_secret"}
    _check_references(unit, given)
    if intent.body["status"] in OPEN:
        unit.change(intent, **_changes(intent, given))
        _take_payment_method(unit, intent, given)
    confirm(unit, intent, _confirmation(given))
    return intent.body


def _cancel(unit: Unit, call: Call) -> Json:
    intent = find_intent(unit, call.path["intent"])
    cancel(unit, intent, call.params.get("cancellation_reason"))
    return intent.body


_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")

RESOURCE = Resource(
    kind="payment_intent",
    expandable=frozenset("application customer latest_charge on_behalf_of payment_method review".split()),
    operations=(
        Operation("POST", "/v1/payment_intents", _create, _CREATE, _UNMODELLED),
        listing(
            "/v1/payment_intents",
            "payment_intent",
            {"created": CREATED, "customer": equals("customer")},
            unmodelled=frozenset({"customer_account"}),
        ),
        Operation("GET", "/v1/payment_intents/{intent}", _retrieve, {"client_secret": optional(string())}),
        Operation("POST", "/v1/payment_intents/{intent}", _update, _UPDATE, _UNMODELLED),
        Operation("POST", "/v1/payment_intents/{intent}/confirm", _confirm, _CONFIRM, _UNMODELLED),
        Operation(
            "POST",
            "/v1/payment_intents/{intent}/cancel",
            _cancel,
            {"cancellation_reason": optional(string(choices=_REASONS))},
        ),
    ),
)
