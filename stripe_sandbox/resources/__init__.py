"""The resources of the API, one module a kind. `API` is all of them together."""

from stripe_sandbox.resource import Api
from stripe_sandbox.resources import (
    balance,
    charges,
    customers,
    events,
    payment_intents,
    payment_methods,
    webhook_endpoints,
)

API = Api(
    (
        customers.RESOURCE,
        payment_methods.RESOURCE,
        payment_intents.RESOURCE,
        charges.RESOURCE,
        balance.BALANCE,
        balance.TRANSACTIONS,
        events.RESOURCE,
        webhook_endpoints.RESOURCE,
    )
)
