"""The sandbox's own invariants, so that a test can trust what it is compared with."""

from stripe_sandbox.store import Store


def violations(store: Store, platform: str) -> list[str]:
    """What is wrong in a platform's books, connected accounts included; empty when nothing is."""
    checks = (_balances, _succeeded_intents, _charges, _transfers, _payouts)
    return [violation for check in checks for violation in check(store, platform)]


def _balances(store: Store, platform: str) -> list[str]:
    """A balance is the sum of its balance transactions, pending and available."""
    rows = store.db.execute(
        """
        WITH sums AS (
            SELECT account, json_extract(body, '$.currency') AS currency,
                   sum(json_extract(body, '$.net')) FILTER (WHERE json_extract(body, '$.status') = 'pending')
                       AS pending,
                   sum(json_extract(body, '$.net')) FILTER (WHERE json_extract(body, '$.status') = 'available')
                       AS available
            FROM objects WHERE platform = ? AND kind = 'balance_transaction' GROUP BY 1, 2
        )
        SELECT coalesce(sums.account, kept.account) AS account, coalesce(sums.currency, kept.currency) AS currency,
               coalesce(sums.pending, 0) AS pending_sum, coalesce(sums.available, 0) AS available_sum,
               coalesce(kept.pending, 0) AS pending, coalesce(kept.available, 0) AS available
        FROM sums FULL JOIN (SELECT * FROM balances WHERE platform = ?) AS kept
             ON kept.account = sums.account AND kept.currency = sums.currency
        """,
        (platform, platform),
    ).fetchall()
    return [
        f"balance of {row['account']} in {row['currency']}: {state} is {row[state]}, its transactions sum to "
        f"{row[f'{state}_sum']}"
        for row in rows
        for state in ("pending", "available")
        if row[state] != row[f"{state}_sum"]
    ]


def _succeeded_intents(store: Store, platform: str) -> list[str]:
    """A succeeded PaymentIntent has exactly one captured charge; any other has none."""
    rows = store.db.execute(
        """
        SELECT intents.id, json_extract(intents.body, '$.status') AS status,
               count(charges.id) AS charges,
               coalesce(sum(json_extract(charges.body, '$.amount_captured')), 0) AS captured,
               json_extract(intents.body, '$.amount_received') AS received
        FROM objects AS intents LEFT JOIN objects AS charges
             ON charges.platform = intents.platform AND charges.account = intents.account
             AND charges.kind = 'charge' AND json_extract(charges.body, '$.payment_intent') = intents.id
             AND json_extract(charges.body, '$.captured')
        WHERE intents.platform = ? AND intents.kind = 'payment_intent' GROUP BY intents.seq
        HAVING charges <> (status = 'succeeded') OR captured <> received
        """,
        (platform,),
    ).fetchall()
    return [
        f"{row['id']} is {row['status']} with {row['charges']} captured charges of {row['captured']}, received "
        f"{row['received']}"
        for row in rows
    ]


def _charges(store: Store, platform: str) -> list[str]:
    """At most one balance transaction posts a charge, none a failed one, and the charge names it."""
    rows = store.db.execute(
        """
        SELECT charges.id, count(booked.id) AS transactions
        FROM objects AS charges LEFT JOIN objects AS booked
             ON booked.platform = charges.platform AND booked.account = charges.account
             AND booked.kind = 'balance_transaction' AND json_extract(booked.body, '$.source') = charges.id
             AND json_extract(booked.body, '$.type') IN ('charge', 'payment')
        WHERE charges.platform = ? AND charges.kind = 'charge' GROUP BY charges.seq
        HAVING transactions <> (json_extract(charges.body, '$.balance_transaction') IS NOT NULL)
            OR (transactions > 0 AND json_extract(charges.body, '$.status') <> 'succeeded')
        """,
        (platform,),
    ).fetchall()
    return [f"{row['id']} has {row['transactions']} balance transactions" for row in rows]


def _transfers(store: Store, platform: str) -> list[str]:
    """What was reversed of a transfer is the sum of its reversals, and its payment was refunded as much."""
    rows = store.db.execute(
        """
        SELECT transfers.id, json_extract(transfers.body, '$.amount_reversed') AS reversed,
               (SELECT coalesce(sum(json_extract(body, '$.amount')), 0) FROM objects
                WHERE platform = transfers.platform AND account = transfers.account AND kind = 'transfer_reversal'
                AND json_extract(body, '$.transfer') = transfers.id) AS reversals,
               (SELECT json_extract(body, '$.amount_refunded') FROM objects
                WHERE platform = transfers.platform
                AND id = json_extract(transfers.body, '$.destination_payment')) AS refunded
        FROM objects AS transfers WHERE transfers.platform = ? AND transfers.kind = 'transfer'
        AND (reversed <> reversals OR refunded IS NOT reversed)
        """,
        (platform,),
    ).fetchall()
    return [
        f"{row['id']} says that {row['reversed']} were reversed; its reversals sum to {row['reversals']}, its payment "
        f"was refunded {row['refunded']}"
        for row in rows
    ]


def _payouts(store: Store, platform: str) -> list[str]:
    """A payout's money came back exactly when it failed or was canceled, by its own balance transactions."""
    rows = store.db.execute(
        """
        SELECT payouts.id, json_extract(payouts.body, '$.status') AS status,
               coalesce(sum(json_extract(booked.body, '$.net')), 0) AS net,
               json_extract(payouts.body, '$.amount') AS amount
        FROM objects AS payouts LEFT JOIN objects AS booked
             ON booked.platform = payouts.platform AND booked.account = payouts.account
             AND booked.kind = 'balance_transaction' AND json_extract(booked.body, '$.source') = payouts.id
        WHERE payouts.platform = ? AND payouts.kind = 'payout' GROUP BY payouts.seq
        HAVING net <> CASE WHEN status IN ('failed', 'canceled') THEN 0 ELSE -amount END
            OR (status IN ('failed', 'canceled'))
               <> (json_extract(payouts.body, '$.failure_balance_transaction') IS NOT NULL)
        """,
        (platform,),
    ).fetchall()
    return [f"{row['id']} of {row['amount']} is {row['status']}; its transactions sum to {row['net']}" for row in rows]
