"""The invariants, as SQL: what must never be true of the books, whatever the sagas did.

Each query returns one row a violation: its place, what is wrong there, and what to look at next. Beside the tables they
read the notes of what Stripe and Temporal have (`NOTES`); `db.audit` runs them, on one snapshot.

`(SELECT app_now())` is evaluated once a query; `app_now()` alone would be for each row, and no index could help.

A Stripe account is named by its id, the platform's own by the empty string: in links, in notes, and as the owner of the
ledger account that stands for its balance. So an entry may only be linked on the account that is its own ledger
account's owner.
"""

from enum import StrEnum

from domain.operations import followup_id


class Invariant(StrEnum):
    """What must never be found, named for what is wrong when it is. The names are stable: alerts refer to them."""

    UNBALANCED_TRANSACTION = "unbalanced-transaction"
    """A ledger transaction does not sum to zero in each currency, or has fewer than two entries."""
    WRONG_BALANCE = "wrong-balance"
    """A stored balance, or a snapshot of one, is not the sum of its entries."""
    FORBIDDEN_NEGATIVE = "forbidden-negative"
    """An account is negative that must never be, by its stored balance or by its entries."""
    STEP_POSTED_TWICE = "step-posted-twice"
    """Two ledger transactions stand for one (operation, step, generation)."""
    MONEY_LEFT_BEHIND = "money-left-behind"
    """An operation is terminal and unflagged, but what it put in escrow, in transit or in flight is still there."""
    MORE_RETURNED_THAN_CAPTURED = "more-returned-than-captured"
    """More left our Stripe balance for a deposit, Stripe's fee apart, than it brought in. Or a withdrawal gave back, or
    paid out, more than it had taken."""
    OFFER_DIFFERS_FROM_LEDGER = "offer-differs-from-ledger"
    """What an offer's row says of its money is not what its postings did; or more left it than it held; or it has no
    row."""
    REPAYMENT_DIFFERS_FROM_DEBT = "repayment-differs-from-debt"
    """A credit to a wallet repaid something else than the lesser of itself and what the wallet's owner owed then. Or
    something was repaid that no credit brought, or that somebody else owes."""
    UNPROCESSED_EVENT = "unprocessed-event"
    """A Stripe event was received over five minutes ago, and no saga has recorded it."""
    TWO_LIVE_STRIPE_OBJECTS = "two-live-stripe-objects"
    """One intent has made two objects at Stripe, or one although it was given up for good: by our own record of calls,
    or by their metadata at Stripe."""
    LINKS_DIFFER_FROM_NET = "links-differ-from-net"
    """The entries linked to one of Stripe's balance transactions do not sum to minus its net."""
    LEDGER_DIFFERS_FROM_STRIPE = "ledger-differs-from-stripe"
    """A movement stands on one side only: at Stripe, or in the ledger. Or Stripe's balance is not their sum."""
    OPERATION_WITHOUT_WORKFLOW = "operation-without-workflow"
    """An operation is not closed, and no workflow is open that could bring it to an end."""


NOTES = """
    CREATE TEMPORARY TABLE noted_balance_transactions (
        account text, id text, currency text, net bigint, created timestamptz, source text, operation_id text,
        subject text, step text
    );
    CREATE TEMPORARY TABLE noted_unreadable_accounts (account text);
    CREATE TEMPORARY TABLE noted_live_objects (id text, subject text, step text);
    CREATE TEMPORARY TABLE noted_workflows (id text);
"""
"""What Stripe (on the platform's account and each connected one) and Temporal have, noted before the snapshot."""

_UNBALANCED = """
    SELECT coalesce(t.id, e.ltx_id) AS place,
           CASE WHEN t.id IS NULL THEN 'entries of a ledger transaction that does not exist'
                ELSE format('%s entries that sum to %s', coalesce(e.entries, 0), coalesce(e.sums, 'nothing')) END
               AS what,
           format('operation %s, step %s', t.operation_id, t.step) AS look_at
    FROM ledger_transactions t FULL JOIN (
        SELECT ltx_id, sum(entries) AS entries, bool_or(total <> 0) AS uneven,
               string_agg(format('%s %s', total, currency), ' and ') AS sums
        FROM (
            SELECT ltx_id, currency, count(*) AS entries, sum(amount) AS total
            FROM ledger_entries GROUP BY ltx_id, currency
        ) by_currency GROUP BY ltx_id
    ) e ON e.ltx_id = t.id
    WHERE t.id IS NULL OR e.ltx_id IS NULL OR e.entries < 2 OR e.uneven
"""

_WRONG_BALANCE = """
    SELECT concat_ws(' ', a.kind, nullif(a.owner, ''), a.currency) AS place,
           format('balance %s, but its entries sum to %s', coalesce(b.balance::text, 'missing'), coalesce(e.total, 0))
               AS what,
           format('ledger_balances and ledger_entries of account %s', a.id) AS look_at
    FROM ledger_accounts a JOIN ledger_account_kinds k ON k.kind = a.kind AND k.keeps_balance
    LEFT JOIN ledger_balances b ON b.account_id = a.id
    LEFT JOIN (SELECT account_id, sum(amount) AS total FROM ledger_entries GROUP BY account_id) e
        ON e.account_id = a.id
    WHERE b.balance IS DISTINCT FROM coalesce(e.total, 0)
    UNION ALL
    SELECT concat_ws(' ', a.kind, a.currency),
           format('snapshot %s, but its entries before %s sum to %s', s.balance, s.cut, coalesce(e.total, 0)),
           format('ledger_snapshots and ledger_entries of account %s', a.id)
    FROM ledger_snapshots s JOIN ledger_accounts a ON a.id = s.account_id
    CROSS JOIN LATERAL (SELECT sum(amount) AS total FROM ledger_entries WHERE account_id = a.id AND xid < s.cut) e
    WHERE s.balance <> coalesce(e.total, 0)
"""

_FORBIDDEN_NEGATIVE = """
    SELECT concat_ws(' ', a.kind, nullif(a.owner, ''), a.currency) AS place,
           format('%s of %s', CASE WHEN k.guard * b.balance < 0 THEN format('balance %s', b.balance)
                                   ELSE format('sum of entries %s', e.total) END, a.currency) AS what,
           format('ledger_entries of account %s', a.id) AS look_at
    FROM ledger_accounts a JOIN ledger_account_kinds k ON k.kind = a.kind AND k.guard <> 0
    LEFT JOIN ledger_balances b ON b.account_id = a.id
    LEFT JOIN (SELECT account_id, sum(amount) AS total FROM ledger_entries GROUP BY account_id) e
        ON e.account_id = a.id
    WHERE k.guard * b.balance < 0 OR k.guard * e.total < 0
"""

_POSTED_TWICE = """
    SELECT operation_id AS place,
           format('step %s, generation %s, stands %s times', step, generation, count(*)) AS what,
           string_agg(id, ', ' ORDER BY id) AS look_at
    FROM ledger_transactions GROUP BY operation_id, step, generation HAVING count(*) > 1
"""

_LEFT_BEHIND = """
    SELECT o.id AS place,
           format('%s, but %s %s of it are still in %s', o.status, abs(sum(e.amount)), a.currency, a.kind) AS what,
           format('its postings, and account %s of %s', a.id, a.owner) AS look_at
    FROM ledger_accounts a JOIN ledger_account_kinds k ON k.kind = a.kind
    JOIN ledger_entries e ON e.account_id = a.id JOIN ledger_transactions t ON t.id = e.ltx_id
    JOIN operations o ON o.id = t.operation_id AND NOT o.needs_attention
    JOIN operation_statuses s ON s.kind = o.kind AND s.status = o.status AND s.terminal
    WHERE a.kind IN ('wallet_escrow', 'wallet_in_transit', 'payouts_in_flight')
    GROUP BY o.id, a.id, k.guard HAVING k.guard * sum(e.amount) > 0
"""

# A deposit brings money in. A withdrawal takes out what the deposits of others brought: on each of its accounts, what
# it moves on it has put there before; and no more may have left our Stripe balance than has left the wallet. That is
# so after each of its steps, whatever its status.
_MORE_RETURNED = """
    SELECT o.id AS place,
           format('%s %s more left our Stripe balance than came in', sum(e.amount), a.currency) AS what,
           'its postings, and its charge and refunds at Stripe' AS look_at
    FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id
    JOIN ledger_transactions t ON t.id = e.ltx_id AND t.step <> 'stripe_fee'
    JOIN operations o ON o.id = t.operation_id AND o.kind = 'deposit'
    WHERE a.kind = 'stripe_balance' GROUP BY o.id, a.id HAVING sum(e.amount) > 0
    UNION ALL
    SELECT w.id, concat_ws('; ',
               CASE WHEN reserved < 0 THEN format('%s %s more restored than reserved', -reserved, currency) END,
               CASE WHEN in_transit < 0 THEN format('%s %s more paid and restored than reserved', -in_transit,
                                                    currency) END,
               CASE WHEN transferred < 0 THEN format('%s %s more reversed than transferred', -transferred,
                                                     currency) END,
               CASE WHEN at_account < 0 THEN format('%s %s more paid out and reversed than transferred', -at_account,
                                                    currency) END,
               CASE WHEN in_flight < 0 THEN format('%s %s more arrived and came back than was paid out', -in_flight,
                                                   currency) END,
               CASE WHEN transferred > reserved THEN format('%s %s more left our Stripe balance than left the wallet',
                                                            transferred - reserved, currency) END),
           'its postings, and its transfer, reversals and payout at Stripe'
    FROM (
        SELECT o.id, e.currency,
               coalesce(-sum(e.amount) FILTER (WHERE a.kind = 'wallet_available'), 0) AS reserved,
               coalesce(sum(e.amount) FILTER (WHERE a.kind = 'wallet_in_transit'), 0) AS in_transit,
               coalesce(sum(e.amount) FILTER (WHERE a.kind = 'stripe_balance'), 0) AS transferred,
               coalesce(-sum(e.amount) FILTER (WHERE a.kind = 'connected_balance'), 0) AS at_account,
               coalesce(-sum(e.amount) FILTER (WHERE a.kind = 'payouts_in_flight'), 0) AS in_flight
        FROM operations o JOIN ledger_transactions t ON t.operation_id = o.id AND t.step NOT LIKE 'repayment:%'
        JOIN ledger_entries e ON e.ltx_id = t.id JOIN ledger_accounts a ON a.id = e.account_id
        WHERE o.kind = 'withdrawal' GROUP BY o.id, e.currency
    ) w
    WHERE least(reserved, in_transit, transferred, at_account, in_flight) < 0 OR transferred > reserved
"""

# What each account of an offer must have been moved by follows from its row and how it ended: `whole` was put in escrow
# if anything was, `taken` of it is the platform's fee, and `spared` is that fee if it went back instead.
_OFFER_DIFFERS = """
    SELECT coalesce(operation_id, row_of) AS place, concat_ws('; ',
               CASE WHEN row_of IS NULL THEN 'an offer without a row in offers' END,
               CASE WHEN operation_id IS NULL THEN 'a row in offers without an offer' END,
               CASE WHEN strange > 0 THEN format('%s entries on accounts that are not its own', strange) END,
               CASE WHEN NOT agreed THEN 'its row and its operation name another amount, currency or user' END,
               CASE WHEN out > amount THEN format('%s released and returned of %s', out, amount) END,
               CASE WHEN escrow <> whole - taken - spared - out
                    THEN format('%s in escrow, by its row %s', escrow, whole - taken - spared - out) END,
               CASE WHEN given <> whole - spared - returned
                    THEN format('%s taken from the customer, by its row %s', given, whole - spared - returned) END,
               CASE WHEN earned <> released - service_fee
                    THEN format('%s to the contractor, by its row %s', earned, released - service_fee) END,
               CASE WHEN service_fees <> service_fee
                    THEN format('%s charged as service fee, by its row %s', service_fees, service_fee) END,
               CASE WHEN platform_fees <> taken
                    THEN format('%s charged as platform fee, by its row %s', platform_fees, taken) END
           ) AS what,
           format('its postings, its row in offers and offer_actions; it is %s', coalesce(status, 'no offer'))
               AS look_at
    FROM (
        SELECT o.id AS operation_id, f.operation_id AS row_of, o.status,
               (f.amount, f.currency, f.customer_id) = (o.amount, o.currency, o.user_id) AS agreed,
               f.amount, f.released, f.returned, f.service_fee, f.released + f.returned AS out,
               CASE WHEN f.held_at IS NULL THEN 0 ELSE f.amount + f.platform_fee END AS whole,
               CASE WHEN x.accepted AND NOT x.fee_back THEN f.platform_fee ELSE 0 END AS taken,
               CASE WHEN f.held_at IS NOT NULL AND x.fee_back THEN f.platform_fee ELSE 0 END AS spared,
               coalesce(e.escrow, 0) AS escrow, coalesce(e.given, 0) AS given, coalesce(e.earned, 0) AS earned,
               coalesce(e.service_fees, 0) AS service_fees, coalesce(e.platform_fees, 0) AS platform_fees,
               coalesce(e.strange, 0) AS strange
        FROM (SELECT * FROM operations WHERE kind = 'offer') o FULL JOIN offers f ON f.operation_id = o.id
        CROSS JOIN LATERAL (
            SELECT f.accepted_at IS NOT NULL AS accepted,
                   o.status IN ('declined', 'expired')
                   OR (o.status = 'canceled' AND (f.accepted_at IS NULL OR f.platform_fee_returned)) AS fee_back
        ) x
        LEFT JOIN (
            SELECT o.id, sum(e.amount) FILTER (WHERE its = 'escrow') AS escrow,
                   -sum(e.amount) FILTER (WHERE its = 'given') AS given,
                   sum(e.amount) FILTER (WHERE its = 'earned') AS earned,
                   sum(e.amount) FILTER (WHERE its = 'service_fees') AS service_fees,
                   sum(e.amount) FILTER (WHERE its = 'platform_fees') AS platform_fees,
                   count(*) FILTER (WHERE its IS NULL) AS strange
            FROM operations o JOIN offers f ON f.operation_id = o.id
            JOIN ledger_transactions t ON t.operation_id = o.id AND t.step NOT LIKE 'repayment:%'
            JOIN ledger_entries e ON e.ltx_id = t.id JOIN ledger_accounts a ON a.id = e.account_id
            CROSS JOIN LATERAL (
                SELECT CASE WHEN e.currency <> f.currency THEN NULL
                            WHEN a.kind = 'wallet_escrow' AND a.owner = o.wallet_id THEN 'escrow'
                            WHEN a.kind = 'wallet_available' AND a.owner = o.wallet_id THEN 'given'
                            WHEN a.kind = 'wallet_available' AND a.owner = f.contractor_wallet THEN 'earned'
                            WHEN a.kind IN ('service_fees', 'platform_fees') THEN a.kind END AS its
            ) i
            GROUP BY o.id
        ) e ON e.id = o.id
    ) offer
    WHERE operation_id IS NULL OR row_of IS NULL OR strange > 0 OR NOT agreed OR out > amount
       OR (escrow, given, earned, service_fees, platform_fees)
          <> (whole - taken - spared - out, whole - spared - returned, released - service_fee, service_fee, taken)
"""

# A repayment belongs to the credit that it follows, not to what the credit's operation moves: the invariants of the
# operations leave it out, and this one holds it. Whoever credits a wallet, or changes what its owner owes, holds that
# user's lock before any entry is written: so the ids of the entries say what was owed when.
_REPAYMENT_DIFFERS = """
    SELECT operation_id AS place,
           format('step %s brought %s %s, %s of it were due, %s were repaid', step, credited, currency, due, repaid)
               AS what,
           format('the entries of %s and of account %s, which is what %s owes', ltx_id, receivable, debtor) AS look_at
    FROM (
        SELECT t.operation_id, t.step, c.*, least(c.credited, greatest(coalesce(o.owed, 0), 0)) AS due,
               coalesce(r.repaid, 0) AS repaid
        FROM (
            SELECT d.id AS receivable, d.owner AS debtor, d.currency, e.ltx_id, sum(e.amount) AS credited,
                   min(e.id) AS first
            FROM ledger_accounts d JOIN wallets w ON w.user_id = d.owner AND w.currency = d.currency
            JOIN ledger_accounts a ON a.kind = 'wallet_available' AND a.owner = w.id AND a.currency = d.currency
            JOIN ledger_entries e ON e.account_id = a.id
            WHERE d.kind = 'receivable' GROUP BY d.id, e.ltx_id HAVING sum(e.amount) > 0
        ) c JOIN ledger_transactions t ON t.id = c.ltx_id
        CROSS JOIN LATERAL (
            SELECT -sum(e.amount) AS owed FROM ledger_entries e
            WHERE e.account_id = c.receivable AND (e.id < c.first OR e.ltx_id = c.ltx_id)
        ) o
        CROSS JOIN LATERAL (
            SELECT sum(e.amount) AS repaid FROM ledger_transactions r JOIN ledger_entries e ON e.ltx_id = r.id
            WHERE r.operation_id = t.operation_id AND r.step = 'repayment:' || t.step
              AND r.generation = t.generation AND e.account_id = c.receivable
        ) r
    ) credit WHERE due <> repaid
    UNION ALL
    SELECT r.operation_id, format('step %s moves what its credit did not bring, or somebody else''s debt', r.step),
           'ledger transaction ' || r.id
    FROM ledger_transactions r
    WHERE r.step LIKE 'repayment:%' AND EXISTS (
        SELECT FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
        WHERE e.ltx_id = r.id AND NOT EXISTS (
            SELECT FROM ledger_transactions t JOIN ledger_entries c ON c.ltx_id = t.id AND c.amount > 0
            JOIN ledger_accounts k ON k.id = c.account_id AND k.kind = 'wallet_available'
            JOIN wallets w ON w.id = k.owner
            WHERE t.operation_id = r.operation_id AND r.step = 'repayment:' || t.step AND t.generation = r.generation
              AND t.xid = r.xid AND a.currency = k.currency
              AND (a.id = k.id AND e.amount < 0
                   OR a.kind = 'receivable' AND a.owner = w.user_id AND e.amount > 0)
        )
    )
"""

_UNPROCESSED = """
    SELECT id AS place,
           format('%s, received %s, not processed', type, to_char(received_at, 'YYYY-MM-DD HH24:MI:SS TZ')) AS what,
           format('operation %s and its workflow, about %s', coalesce(operation_id, 'unknown'), object_id) AS look_at
    FROM stripe_events WHERE state = 'received' AND received_at < (SELECT app_now()) - interval '5 minutes'
"""

# A closed generation was never sent: it stands for the certainty that its step is never done.
_TWO_LIVE = """
    WITH live AS (
        SELECT id, subject, step FROM noted_live_objects
        UNION SELECT source, subject, step FROM noted_balance_transactions WHERE subject IS NOT NULL
    ), done AS (
        SELECT stripe_id AS id, subject, step FROM stripe_calls WHERE outcome = 'done'
    )
    SELECT subject AS place, format('step %s was done %s times', step, count(*)) AS what,
           'stripe_calls: ' || string_agg(id, ', ' ORDER BY id) AS look_at
    FROM done GROUP BY subject, step HAVING count(*) > 1
    UNION ALL
    SELECT subject, format('step %s has made %s objects that live', step, count(*)),
           'at Stripe: ' || string_agg(id, ', ' ORDER BY id)
    FROM live GROUP BY subject, step HAVING count(*) > 1
    UNION ALL
    SELECT subject, format('step %s was given up for good, and is done', step),
           'stripe_calls, and at Stripe: ' || string_agg(id, ', ' ORDER BY id)
    FROM (TABLE done UNION TABLE live) made JOIN (
        SELECT DISTINCT subject, step FROM stripe_calls WHERE closed_at IS NOT NULL
    ) closed USING (subject, step) GROUP BY subject, step
"""

_LINKS_DIFFER = """
    SELECT b.id AS place,
           format('net %s %s at Stripe, but its linked entries sum to %s', b.net, b.currency, l.sums) AS what,
           concat_ws(', ', 'operation ' || l.operations, 'source ' || b.source, 'account ' || nullif(b.account, ''))
               AS look_at
    FROM noted_balance_transactions b JOIN (
        SELECT l.stripe_account AS account, l.balance_transaction_id AS id,
               string_agg(DISTINCT t.operation_id, ', ') AS operations,
               coalesce(sum(e.amount) FILTER (WHERE f.fits), 0) AS total,
               array_agg(DISTINCT e.currency) AS currencies,
               format('%s %s', coalesce(sum(e.amount) FILTER (WHERE f.fits), 0),
                      string_agg(DISTINCT e.currency, '/')) AS sums
        FROM stripe_balance_links l JOIN ledger_entries e ON e.id = l.entry_id
        JOIN ledger_accounts a ON a.id = e.account_id JOIN ledger_transactions t ON t.id = e.ltx_id
        CROSS JOIN LATERAL (
            SELECT a.kind IN ('stripe_balance', 'connected_balance') AND a.owner = l.stripe_account AS fits
        ) f
        GROUP BY l.stripe_account, l.balance_transaction_id
    ) l ON l.account = b.account AND l.id = b.id
    WHERE l.total <> -b.net OR l.currencies <> ARRAY[b.currency]
"""

# A balance transaction has five minutes until a saga must have taken it in. Its age is Stripe's `created` against
# app_now(), which stands for Stripe's clock also where a test has moved both. Once its operation is closed nobody will
# come for it, so then it counts at once; but for what happens to a withdrawal after its closing, a follow-up comes.
# (Stripe's `created` is cut to the second, so it may be up to one older than what it stamps.)
#
# Nothing moves at Stripe when what is there is written off: it only is no longer held by us for its owner.
#
# What an account's owner, or Stripe, does there without us is a difference as well: then the books are wrong about what
# is held for the owner, and the next withdrawal may meet a balance that they know nothing of.
_UNEXPLAINED = """
    SELECT b.id AS place, format('%s %s at Stripe that no entry explains', b.net, b.currency) AS what,
           concat_ws(', ', 'source ' || coalesce(b.source, 'none'), 'operation ' || coalesce(o.id, 'unknown'),
                     'account ' || nullif(b.account, '')) AS look_at
    FROM noted_balance_transactions b LEFT JOIN stripe_objects s ON s.stripe_id = b.source
    LEFT JOIN operations o ON o.id = coalesce(b.operation_id, s.operation_id)
    WHERE (b.created < (SELECT app_now()) - interval '5 minutes'
           OR (o.closed_at IS NOT NULL
               AND (o.kind <> 'withdrawal' OR b.created <= o.closed_at - interval '1 second')))
      AND NOT EXISTS (
          SELECT FROM stripe_balance_links l
          WHERE l.stripe_account = b.account AND l.balance_transaction_id = b.id
      )
    UNION ALL
    SELECT t.id, format('%s %s on %s, linked to no balance transaction of it', e.amount, e.currency, a.kind),
           concat_ws(', ', 'operation ' || o.id, 'step ' || t.step, 'account ' || nullif(a.owner, ''))
    FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id
    JOIN ledger_transactions t ON t.id = e.ltx_id
    JOIN operations o ON o.id = t.operation_id AND o.closed_at IS NOT NULL
    WHERE a.kind IN ('stripe_balance', 'connected_balance')
      AND NOT (a.kind = 'connected_balance' AND t.step = 'write_off') AND NOT EXISTS (
        SELECT FROM stripe_balance_links l WHERE l.entry_id = e.id AND l.stripe_account = a.owner
    )
"""

VIOLATIONS = (
    (Invariant.UNBALANCED_TRANSACTION, _UNBALANCED),
    (Invariant.WRONG_BALANCE, _WRONG_BALANCE),
    (Invariant.FORBIDDEN_NEGATIVE, _FORBIDDEN_NEGATIVE),
    (Invariant.STEP_POSTED_TWICE, _POSTED_TWICE),
    (Invariant.MONEY_LEFT_BEHIND, _LEFT_BEHIND),
    (Invariant.MORE_RETURNED_THAN_CAPTURED, _MORE_RETURNED),
    (Invariant.OFFER_DIFFERS_FROM_LEDGER, _OFFER_DIFFERS),
    (Invariant.REPAYMENT_DIFFERS_FROM_DEBT, _REPAYMENT_DIFFERS),
    (Invariant.UNPROCESSED_EVENT, _UNPROCESSED),
    (Invariant.TWO_LIVE_STRIPE_OBJECTS, _TWO_LIVE),
    (Invariant.LINKS_DIFFER_FROM_NET, _LINKS_DIFFER),
    (Invariant.LEDGER_DIFFERS_FROM_STRIPE, _UNEXPLAINED),
)

LINKED_TO_NOTHING_NOTED = """
    SELECT l.stripe_account AS account, l.balance_transaction_id AS place,
           format('%s linked, but Stripe has no such balance transaction', count(*)) AS what,
           concat_ws(', ', 'operation ' || string_agg(DISTINCT t.operation_id, ', '),
                     'account ' || nullif(l.stripe_account, '')) AS look_at
    FROM stripe_balance_links l JOIN ledger_entries e ON e.id = l.entry_id
    JOIN ledger_transactions t ON t.id = e.ltx_id
    WHERE NOT EXISTS (
              SELECT FROM noted_balance_transactions b
              WHERE b.account = l.stripe_account AND b.id = l.balance_transaction_id
          )
      AND NOT EXISTS (SELECT FROM noted_unreadable_accounts u WHERE u.account = l.stripe_account)
    GROUP BY l.stripe_account, l.balance_transaction_id
"""

STRIPE_TOTALS = "SELECT account, currency, sum(net) AS total FROM noted_balance_transactions GROUP BY account, currency"

# In its first minute an operation may still be on its way to Temporal; until then it is the sweeper's. What a follow-up
# has opened again has its open workflow there. (Asked for in one subquery, the two ids would keep Postgres from joining
# by hash.)
WITHOUT_NOTED_WORKFLOW = f"""
    SELECT o.id AS place,
           format('%s, accepted %s', o.status, to_char(o.created_at, 'YYYY-MM-DD HH24:MI:SS TZ')) AS what,
           'the workflow of this id in Temporal, and the worker' AS look_at
    FROM operations o
    WHERE o.closed_at IS NULL
      AND (o.started_at IS NOT NULL OR o.created_at < (SELECT app_now()) - interval '60 seconds')
      AND NOT EXISTS (SELECT FROM noted_workflows w WHERE w.id = o.id)
      AND NOT EXISTS (SELECT FROM noted_workflows w WHERE w.id = o.id || '{followup_id("")}')
"""

SOLVENCY = """
    SELECT a.currency,
           -coalesce(sum(e.total) FILTER (WHERE k.nature <> 'liability'), 0) AS held,
           coalesce(sum(e.total) FILTER (WHERE k.nature = 'liability'), 0) AS owed
    FROM ledger_accounts a JOIN ledger_account_kinds k ON k.kind = a.kind
    JOIN (SELECT account_id, sum(amount) AS total FROM ledger_entries GROUP BY account_id) e ON e.account_id = a.id
    WHERE k.nature = 'liability'
       OR a.kind IN ('stripe_balance', 'platform_bank', 'connected_balance', 'payouts_in_flight')
    GROUP BY a.currency ORDER BY a.currency
"""
