"""Customers. https://docs.stripe.com/api/customers"""

from stripe_sandbox.events import publish, updated
from stripe_sandbox.ids import random_text
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    ADDRESS,
    SHIPPING,
    Params,
    array,
    clearable,
    complete,
    complete_shipping,
    email,
    fields,
    integer,
    merge_metadata,
    metadata,
    optional,
    string,
)
from stripe_sandbox.resource import CREATED, Call, Operation, Resource, equals, listing
from stripe_sandbox.resources.payment_methods import attach_to, detach_all, materialize
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit

_INVOICE_SETTINGS: Params = {
    "default_payment_method": clearable(string()),
    "footer": clearable(string()),
}

_PARAMS: Params = {
    "address": clearable(fields(ADDRESS)),
    "balance": optional(integer()),
    "description": clearable(string()),
    "email": clearable(email),
    "invoice_settings": optional(fields(_INVOICE_SETTINGS)),
    "metadata": clearable(metadata),
    "name": clearable(string(256)),
    "next_invoice_sequence": optional(integer(minimum=1)),
    "phone": clearable(string(20)),
    "preferred_locales": optional(array(string())),
    "shipping": clearable(fields(SHIPPING)),
    "tax_exempt": clearable(string(choices=("exempt", "none", "reverse"))),
}

_UNMODELLED = frozenset(
    "business_name cash_balance default_source individual_name invoice_prefix source tax tax_id_data test_clock".split()
)


def _create(unit: Unit, call: Call) -> Json:
    given = dict(call.params)
    payment_method = given.pop("payment_method", None)
    customer = unit.add(
        "customer",
        "cus",
        {
            "address": None,
            "balance": 0,
            "currency": None,
            "customer_account": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": None,
            "invoice_prefix": random_text(8).upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "metadata": {},
            "name": None,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
    )
    unit.change(customer, **_changes(unit, customer, given))
    publish(unit, "customer.created", customer.body)
    if payment_method is not None:
        attach_to(unit, materialize(unit, payment_method), customer)
    return customer.body


def _update(unit: Unit, call: Call) -> Json:
    customer = unit.get("customer", call.path["customer"], in_path=True)
    updated(unit, "customer.updated", customer, **_changes(unit, customer, call.params))
    return customer.body


def _changes(unit: Unit, customer: Stored, given: Json) -> Json:
    """The fields that the parameters set, in the form in which the object shows them."""
    changes = dict(given)
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(customer.body["metadata"], changes["metadata"])
    if "address" in changes:
        changes["address"] = complete(changes["address"], ADDRESS)
    if "shipping" in changes:
        changes["shipping"] = complete_shipping(changes["shipping"])
    if "tax_exempt" in changes:
        changes["tax_exempt"] = changes["tax_exempt"] or "none"
    if "invoice_settings" in changes:
        default = changes["invoice_settings"].get("default_payment_method")
        if default is not None:
            unit.get("payment_method", default, "invoice_settings[default_payment_method]")
        changes["invoice_settings"] = {**customer.body["invoice_settings"], **changes["invoice_settings"]}
    return changes


def _retrieve(unit: Unit, call: Call) -> Json:
    """A deleted customer is still found, as the stub that its deletion answered with."""
    found = unit.store.find(unit.scope, call.path["customer"])
    if found is not None and found.kind == "customer":
        return unit.show(found)
    return unit.show(unit.get("customer", call.path["customer"], in_path=True))


def _delete(unit: Unit, call: Call) -> Json:
    customer = unit.get("customer", call.path["customer"], in_path=True)
    detach_all(unit, customer)
    publish(unit, "customer.deleted", customer.body)
    customer.deleted = True
    unit.store.save(customer)
    return unit.show(customer)


def _render(unit: Unit, customer: Stored) -> Json:
    return {"id": customer.id, "object": "customer", "deleted": True} if customer.deleted else customer.body


RESOURCE = Resource(
    kind="customer",
    render=_render,
    expandable=frozenset({"default_source", "invoice_settings.default_payment_method", "test_clock"}),
    operations=(
        Operation("POST", "/v1/customers", _create, {**_PARAMS, "payment_method": optional(string())}, _UNMODELLED),
        listing(
            "/v1/customers",
            "customer",
            {"created": CREATED, "email": equals("email")},
            unmodelled=frozenset({"test_clock"}),
        ),
        Operation("GET", "/v1/customers/{customer}", _retrieve),
        Operation("POST", "/v1/customers/{customer}", _update, _PARAMS, _UNMODELLED),
        Operation("DELETE", "/v1/customers/{customer}", _delete),
    ),
)
