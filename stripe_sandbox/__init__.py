"""A Stripe-compatible server for running and testing without Stripe.

One process, one SQLite file. It speaks Stripe's v1 HTTP API (the official SDK works against it), sends signed
webhooks with Stripe's inconveniences (late, shuffled, doubled), and lets a test cause the faults that Stripe
shows only in production. It imports nothing of the service that it serves.

How a request travels::

    server ─► gateway ─► auth, faults, idempotency ─► operation (resources/…) ─► unit of work ─► store
                                                                                     │
    scheduler ◄── jobs and deliveries that are due ◄─────────────────────────────────┘

Everything that one request changes (objects, events, deliveries to make, the stored idempotent answer) commits in one
SQLite transaction, so a SIGKILL can neither lose nor halve a request.
"""
