"""The resources of the API, one module a kind. `API` is all of them together."""

from stripe_sandbox.resource import Api
from stripe_sandbox.resources import (
    account_links,
    accounts,
    balance,
    charges,
    customers,
    events,
    external_accounts,
    payment_intents,
    payment_methods,
    payouts,
    transfer_reversals,
    transfers,
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
        accounts.ACCOUNTS,
        accounts.CAPABILITY,
        account_links.RESOURCE,
        external_accounts.RESOURCE,
        transfers.RESOURCE,
        transfer_reversals.REVERSALS,
        transfer_reversals.REFUNDS,
        payouts.RESOURCE,
        events.RESOURCE,
        webhook_endpoints.RESOURCE,
    )
)
