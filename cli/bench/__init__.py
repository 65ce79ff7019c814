"""`paysaga bench`: how fast Paysaga is on this machine, beside what its parts could do at best.

    command ── starts a stack of its own, measures, audits it, ends it
       ├── sagas       deposits, offers, withdrawals, from the first request to the money's arrival
       ├── yardsticks  what the same Temporal does with workflows that do nothing
       ├── requests    reads of wallets, acknowledgements of webhooks
       ├── postings    ledger postings beside single-row updates, and how all that grows (filling)
       └── meters      CPU and memory of each part; SQL statements, Stripe calls, history events of one saga

Every figure's name ends in its unit: `_ms`, `_seconds`, `_per_second`, `_mib`. What has none is a count or a ratio.
"""
