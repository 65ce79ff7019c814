"""Payment methods: cards, by test token or by number. https://docs.stripe.com/api/payment_methods"""

from typing import Any

from stripe_sandbox import cards
from stripe_sandbox.errors import StripeError, invalid_param, invalid_request, not_modelled, resource_missing
from stripe_sandbox.events import publish, updated
from stripe_sandbox.ids import derived_id
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    ADDRESS,
    Params,
    clearable,
    complete,
    email,
    fields,
    integer,
    merge_metadata,
    metadata,
    optional,
    required,
    string,
)
from stripe_sandbox.resource import Call, Operation, Resource, equals, listing
from stripe_sandbox.store import Filter, Stored
from stripe_sandbox.unit import Unit

_BILLING_DETAILS: Params = {
    "address": clearable(fields(ADDRESS)),
    "email": clearable(email),
    "name": clearable(string()),
    "phone": clearable(string()),
    "tax_id": clearable(string()),
}

_CARD: Params = {
    "cvc": optional(string()),
    "exp_month": optional(integer()),
    "exp_year": optional(integer()),
    "number": optional(string()),
    "token": optional(string()),
}

_ALLOW_REDISPLAY = string(choices=("always", "limited", "unspecified"))


def _card_only(name: str, raw: Any) -> str:
    if raw != "card":
        raise not_modelled(f"payment methods of type '{raw}'", name)
    return "card"


PAYMENT_METHOD_DATA: Params = {
    "allow_redisplay": optional(_ALLOW_REDISPLAY),
    "billing_details": optional(fields(_BILLING_DETAILS)),
    "card": required(fields(_CARD)),
    "metadata": optional(metadata),
    "type": required(_card_only),
}
"""What a card is described by, here and in a PaymentIntent's `payment_method_data`."""


def create_from_data(unit: Unit, given: Json) -> Stored:
    """A payment method from checked `PAYMENT_METHOD_DATA`. Raises the 402 that a mistyped card gets."""
    described = given["card"]
    if "token" in described:
        card = cards.by_token(described["token"], "tok_")
        if card is None:
            raise resource_missing("token", described["token"], "card[token]", in_path=False)
        described = {}
    else:
        card = _typed_card(unit, described)
    return _add(
        unit,
        card,
        exp_month=described.get("exp_month", 12),
        exp_year=_full_year(described.get("exp_year", _year(unit) + 1)),
        billing_details=given.get("billing_details", {}),
        allow_redisplay=given.get("allow_redisplay", "unspecified"),
        details=given.get("metadata", {}),
    )


def materialize(unit: Unit, id_or_token: str, param: str = "payment_method", *, in_path: bool = False) -> Stored:
    """The payment method with this id; for a test token (`pm_card_…`) a new one, as Stripe makes one at each use."""
    card = cards.by_token(id_or_token, "pm_card_")
    if card is None:
        if id_or_token.startswith("pm_card_"):
            raise not_modelled(f"the test token '{id_or_token}'", param)
        found = unit.find("payment_method", id_or_token)
        if found is None:
            # Stripe says PaymentMethod here, not the object's name.
            raise resource_missing("PaymentMethod", id_or_token, param, in_path=in_path)
        return found
    return _add(
        unit,
        card,
        exp_month=12,
        exp_year=_year(unit) + 1,
        billing_details={},
        allow_redisplay="unspecified",
        details={},
    )


def card_of(payment_method: Stored) -> cards.Card:
    """How the card behaves."""
    return cards.by_number(payment_method.private["number"]) or _unknown_card(payment_method.private["number"])


def _add(
    unit: Unit,
    card: cards.Card,
    *,
    exp_month: int,
    exp_year: int,
    billing_details: Json,
    allow_redisplay: str,
    details: dict[str, str],
) -> Stored:
    return unit.add(
        "payment_method",
        "pm",
        {
            "allow_redisplay": allow_redisplay,
            "billing_details": _complete_billing(billing_details),
            "card": {
                "brand": card.brand,
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
                "country": card.country,
                "display_brand": card.brand,
                "exp_month": exp_month,
                "exp_year": exp_year,
                "fingerprint": derived_id("fp", unit.scope.platform, card.number).removeprefix("fp_"),
                "funding": card.funding,
                "generated_from": None,
                "last4": card.number[-4:],
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "customer": None,
            "customer_account": None,
            "metadata": details,
            "type": "card",
        },
        {"number": card.number, "consumed": False},
    )


def _complete_billing(given: Json) -> Json:
    shown = complete(given, _BILLING_DETAILS) or {}
    return {**shown, "address": complete(shown["address"] or {}, ADDRESS)}


def _year(unit: Unit) -> int:
    return 1970 + int(unit.now / 31_556_952)


def _full_year(year: int) -> int:
    return 2000 + year if year < 100 else year


def _typed_card(unit: Unit, described: Json) -> cards.Card:
    """Check a typed card as Stripe does; raises card errors (402) with the cardholder's message."""
    for name in ("number", "exp_month", "exp_year"):
        if name not in described:
            raise invalid_param(f"Missing required param: card[{name}].", f"card[{name}]", "parameter_missing")
    number = described["number"].replace(" ", "").replace("-", "")
    if not cards.passes_luhn(number):
        raise _card_error("incorrect_number", "Your card number is incorrect.", "number")
    if number in cards.UNMODELLED_NUMBERS:
        raise not_modelled(f"the test card {number}", "card[number]")
    if not 1 <= described["exp_month"] <= 12:
        raise _card_error("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
    if not _year(unit) <= _full_year(described["exp_year"]) <= _year(unit) + 50:
        raise _card_error("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    cvc = described.get("cvc", "123")
    if not cvc.isdigit() or len(cvc) not in (3, 4):
        raise _card_error("invalid_cvc", "Your card's security code is invalid.", "cvc")
    return cards.by_number(number) or _unknown_card(number)


def _unknown_card(number: str) -> cards.Card:
    """A number that is no test card can be typed, but every charge of it is declined."""
    return cards.Card(number, decline=cards.NOT_A_TEST_CARD, refuse_attach=True)


def _card_error(code: str, message: str, param: str) -> StripeError:
    return StripeError(402, "card_error", message, code=code, param=param, storable=True)


# ── Customers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def attach_to(unit: Unit, payment_method: Stored, customer: Stored) -> None:
    """Save a payment method to a customer. Raises 402 for a card whose check the bank refuses."""
    if payment_method.body["customer"] == customer.id:
        return
    if payment_method.body["customer"] is not None:
        raise invalid_request("The payment method you provided has already been attached to a customer.")
    refuse_consumed(payment_method)
    card = card_of(payment_method)
    if card.refuse_attach and card.decline is not None:
        decline = card.decline
        extra = {} if decline.decline_code is None else {"decline_code": decline.decline_code}
        raise StripeError(402, "card_error", decline.message, code=decline.code, extra=extra)
    unit.change(payment_method, customer=customer.id)
    publish(unit, "payment_method.attached", payment_method.body)


def refuse_consumed(payment_method: Stored) -> None:
    """Raise for one that was used without a customer, or detached: Stripe lets nobody use it again."""
    if payment_method.private["consumed"]:
        raise invalid_request(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again."
        )


def consume(unit: Unit, payment_method: Stored) -> None:
    """Note that it was used without a customer."""
    payment_method.private["consumed"] = True
    unit.store.save(payment_method)


def detach_all(unit: Unit, customer: Stored) -> None:
    """Detach what a customer who is being deleted had saved."""
    for payment_method in unit.all("payment_method", Filter("json_extract(body, '$.customer') = ?", (customer.id,))):
        _detach(unit, payment_method)


def _detach(unit: Unit, payment_method: Stored) -> None:
    payment_method.private["consumed"] = True
    previous = unit.change(payment_method, customer=None)
    publish(unit, "payment_method.detached", payment_method.body, previous)


# ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _create(unit: Unit, call: Call) -> Json:
    return create_from_data(unit, call.params).body


def _retrieve(unit: Unit, call: Call) -> Json:
    return materialize(unit, call.path["payment_method"], in_path=True).body


def _update(unit: Unit, call: Call) -> Json:
    payment_method = materialize(unit, call.path["payment_method"], in_path=True)
    given = call.params
    if payment_method.body["customer"] is None:
        raise invalid_request(
            "You must save this PaymentMethod to a customer before you can update it.", param="payment_method"
        )
    changes: Json = {}
    if "allow_redisplay" in given:
        changes["allow_redisplay"] = given["allow_redisplay"]
    if "billing_details" in given:
        changes["billing_details"] = _complete_billing(
            {**payment_method.body["billing_details"], **given["billing_details"]}
        )
    if "card" in given:
        changes["card"] = {**payment_method.body["card"], **given["card"]}
    if "metadata" in given:
        changes["metadata"] = merge_metadata(payment_method.body["metadata"], given["metadata"])
    updated(unit, "payment_method.updated", payment_method, **changes)
    return payment_method.body


def _attach(unit: Unit, call: Call) -> Json:
    customer = unit.get("customer", call.params["customer"], "customer")
    payment_method = materialize(unit, call.path["payment_method"], in_path=True)
    attach_to(unit, payment_method, customer)
    return payment_method.body


def _detach_one(unit: Unit, call: Call) -> Json:
    payment_method = materialize(unit, call.path["payment_method"], in_path=True)
    if payment_method.body["customer"] is None:
        raise invalid_request(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    _detach(unit, payment_method)
    return payment_method.body


def _of_customer(unit: Unit, call: Call) -> list[Filter]:
    customer = unit.get("customer", call.path["customer"], "customer", in_path=True)
    return [Filter("json_extract(body, '$.customer') = ?", (customer.id,))]


def _of_one_customer(unit: Unit, call: Call) -> list[Filter]:
    """Without a customer the list is empty: Stripe lists only saved ones."""
    return [] if "customer" in call.params else [Filter("0", ())]


_FILTERS = {
    "allow_redisplay": equals("allow_redisplay", choices=("always", "limited", "unspecified")),
    "type": equals("type"),
}

_UPDATE: Params = {
    "allow_redisplay": optional(_ALLOW_REDISPLAY),
    "billing_details": optional(fields(_BILLING_DETAILS)),
    "card": optional(fields({"exp_month": optional(integer(1, 12)), "exp_year": optional(integer(2000, 2100))})),
    "metadata": clearable(metadata),
}

RESOURCE = Resource(
    kind="payment_method",
    expandable=frozenset({"customer"}),
    operations=(
        Operation(
            "POST",
            "/v1/payment_methods",
            _create,
            PAYMENT_METHOD_DATA,
            frozenset({"customer", "payment_method", "radar_options"}),
        ),
        listing(
            "/v1/payment_methods",
            "payment_method",
            {**_FILTERS, "customer": equals("customer")},
            always=_of_one_customer,
            unmodelled=frozenset({"customer_account"}),
        ),
        Operation("GET", "/v1/payment_methods/{payment_method}", _retrieve),
        Operation("POST", "/v1/payment_methods/{payment_method}", _update, _UPDATE),
        Operation(
            "POST",
            "/v1/payment_methods/{payment_method}/attach",
            _attach,
            {"customer": required(string())},
            frozenset({"customer_account"}),
        ),
        Operation("POST", "/v1/payment_methods/{payment_method}/detach", _detach_one),
        listing("/v1/customers/{customer}/payment_methods", "payment_method", _FILTERS, always=_of_customer),
    ),
)
