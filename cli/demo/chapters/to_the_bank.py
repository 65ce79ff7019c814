"""A withdrawal that arrives."""

from cli.demo.contractors import PAYS, deposit, earn, onboard, until_it_is, wallet_of, withdraw
from cli.demo.story import Story

TITLE = "Erin earns 80.00 USD, and withdraws them to her bank"


async def tell(story: Story) -> None:
    """Erin is told what is missing, is onboarded by Stripe, and gets her money."""
    dora, erin = story.person("Dora"), story.person("Erin", "contractor")
    story.say("Dora deposits 150.00 USD with a test card whose money Stripe makes available at once.")
    deposited = await deposit(story, dora, 15_000, "pm_card_bypassPending")
    # Stripe has the money when it tells its fee.
    await story.until_closed(deposited, waiting="Stripe will tell its fee in a moment …")
    # 2.9 % of 150.00 is 4.35, and 0.30 for each charge.
    story.expect_bookings(
        deposited,
        [
            ("credit", {"stripe_balance": -15_000, "wallet_available": 15_000}),
            ("stripe_fee", {"stripe_balance": 465, "stripe_fees": -465}),
        ],
    )
    await earn(story, erin, dora, 8_000)
    story.say("Erin has done a job for her: the marketplace moves 80.00 USD from Dora's wallet to Erin's.")
    story.expect_balance(dora, "usd", 7_000)

    wanted = {"amount": 8_000, "currency": "usd"}
    foretold = await story.post(erin, "/v1/withdrawals/preview", wanted, status=200)
    story.expect("what speaks against Erin's withdrawal", ["no-connected-account"], _codes(foretold))
    story.say("Erin asks what would become of a withdrawal. The preview says what is missing, and how to mend it:")
    for against in foretold["refusals"]:
        story.show(against)
    [account] = await onboard(story, erin, bank=PAYS)
    story.say("So she opens the link to Stripe's own form, and tells Stripe who she is and where her bank is.")
    foretold = await story.post(erin, "/v1/withdrawals/preview", wanted, status=200)
    story.expect("what then speaks against Erin's withdrawal", [], _codes(foretold))

    withdrawal = await withdraw(story, erin, 8_000)
    story.say(f"Nothing speaks against it any more, and she withdraws 80.00 USD: {withdrawal['id']}.")
    story.say("They are reserved in her wallet, transferred to her account at Stripe, and paid out from there.")
    paid = await until_it_is(story, withdrawal, "paid", waiting="The payout is on its way to the bank …")
    story.say("Stripe's webhook says that the payout is paid. The money has left her wallet, and our books.")
    days = story.place.settings.pacing.paid_watch / 86_400
    story.say(
        "She can rely on that, and yet her saga has not ended: a bank may send money back days later. It watches on"
        f" for {days:g} days."
    )
    story.expect_bookings(
        paid["id"],
        [
            ("reserve", {"wallet_available": -8_000, "wallet_in_transit": 8_000}),
            ("transfer", {"connected_balance": -8_000, "stripe_balance": 8_000}),
            ("payout", {"payouts_in_flight": -8_000, "connected_balance": 8_000}),
            ("paid", {"wallet_in_transit": -8_000, "payouts_in_flight": 8_000}),
        ],
    )
    story.expect_balance(erin, "usd", 0)
    wallet = await wallet_of(story, erin)
    story.expect("what Erin has withdrawn, in cents", 8_000, wallet["totals"]["withdrawn"])
    story.expect("what is left on Erin's account at Stripe, in cents", 0, await story.outside.held_by(account))


def _codes(foretold: dict[str, list[dict[str, str]]]) -> list[str]:
    return [against["code"] for against in foretold["refusals"]]
