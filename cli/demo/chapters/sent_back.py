"""Two withdrawals that do not arrive: one is refused by the bank, the other is sent back after it was paid."""

from cli.demo.contractors import CLOSED, PAYS, earn, onboard, until_it_is, wallet_of, withdraw
from cli.demo.story import Story

TITLE = "Fay's bank refuses, and Gus's sends the money back after it was paid"


async def tell(story: Story) -> None:
    """Both have their money in their wallets again, and are told why."""
    await _refused(story)
    await _sent_back_late(story)
    story.expect_balance(story.person("Dora"), "usd", 0)


async def _refused(story: Story) -> None:
    fay = story.person("Fay", "contractor")
    await earn(story, fay, story.person("Dora"), 4_000)
    [account] = await onboard(story, fay, bank=CLOSED)
    story.say("Fay has earned 40.00 USD of Dora's, and has told Stripe of a bank account that is closed by now.")
    withdrawal = await withdraw(story, fay, 4_000)
    story.say("She withdraws them. Stripe takes the transfer, and the payout, and passes it on to her bank.")
    refused = await until_it_is(story, withdrawal, "reversed", waiting="The payout is on its way to the bank …")
    story.say("The bank refuses, and the saga takes back what was done: first the payout, then the transfer.")
    story.say("Her 40.00 USD are in her wallet again, and the withdrawal says why:")
    story.show(refused["failure"])
    story.expect("why Fay's withdrawal came back", "account_closed", refused["failure"]["decline_code"])
    story.expect_bookings(
        refused["id"],
        [
            ("reserve", {"wallet_available": -4_000, "wallet_in_transit": 4_000}),
            ("transfer", {"connected_balance": -4_000, "stripe_balance": 4_000}),
            ("payout", {"payouts_in_flight": -4_000, "connected_balance": 4_000}),
            ("payout_mirror", {"connected_balance": -4_000, "payouts_in_flight": 4_000}),
            ("reversal#1", {"stripe_balance": -4_000, "connected_balance": 4_000}),
            ("restore#1", {"wallet_in_transit": -4_000, "wallet_available": 4_000}),
        ],
    )
    story.expect_balance(fay, "usd", 4_000)
    story.expect("what is left on Fay's account at Stripe, in cents", 0, await story.outside.held_by(account))


async def _sent_back_late(story: Story) -> None:
    gus = story.person("Gus", "contractor")
    await earn(story, gus, story.person("Dora"), 3_000)
    [account] = await onboard(story, gus, bank=PAYS)
    withdrawal = await withdraw(story, gus, 3_000)
    paid = await until_it_is(story, withdrawal, "paid", waiting="The payout is on its way to the bank …")
    story.say("Gus has earned 30.00 USD and withdraws them too. They are paid, as Erin's were.")
    await story.outside.send_back(paid["details"]["payout"], "no_account")
    story.say("But his bank finds no such account and sends them back. That takes days; here it happens at once.")
    late = await until_it_is(story, withdrawal, "reversed", waiting="Stripe's webhook tells the saga …")
    story.say("His saga still watched. Paid, payout and transfer are taken back, and he is told why:")
    story.show(late["failure"])
    story.expect("why Gus's withdrawal came back", "no_account", late["failure"]["decline_code"])
    story.expect_bookings(
        late["id"],
        [
            ("reserve", {"wallet_available": -3_000, "wallet_in_transit": 3_000}),
            ("transfer", {"connected_balance": -3_000, "stripe_balance": 3_000}),
            ("payout", {"payouts_in_flight": -3_000, "connected_balance": 3_000}),
            ("paid", {"wallet_in_transit": -3_000, "payouts_in_flight": 3_000}),
            ("paid_mirror", {"payouts_in_flight": -3_000, "wallet_in_transit": 3_000}),
            ("payout_mirror", {"connected_balance": -3_000, "payouts_in_flight": 3_000}),
            ("reversal#1", {"stripe_balance": -3_000, "connected_balance": 3_000}),
            ("restore#1", {"wallet_in_transit": -3_000, "wallet_available": 3_000}),
        ],
    )
    story.expect_balance(gus, "usd", 3_000)
    wallet = await wallet_of(story, gus)
    story.expect("what Gus has withdrawn, in cents", 0, wallet["totals"]["withdrawn"])
    story.expect("what is left on Gus's account at Stripe, in cents", 0, await story.outside.held_by(account))
