"""Two withdrawals while the platform's funds at Stripe are pending: one is called off, the other waits for them.

What comes to the rescue is another customer's money. Stripe's clock is not put forward, which would outrun Paysaga's
own, nor is its balance changed by hand, which no entry would explain: so nothing is left behind that others on the same
stack, or a later audit, could stumble over.
"""

from cli.demo.contractors import PAYS, deposit, earn, onboard, until_it_is, wallet_of, withdraw
from cli.demo.story import Json, Person, Story
from domain.money import Money

TITLE = "Stripe holds the money back: Ivan waits for it, and Jane does not"

MOST = 125
"""Times 80.00 that one withdrawal can take."""


async def tell(story: Story) -> None:
    """Jane has her money in her wallet again at once; Ivan is paid as soon as the platform can pay."""
    available = await story.outside.available()
    # So many times 80.00 are more than the platform has available. Where the story is told for the first time that are
    # Dora's 65.35, so it is once; on a stack that has seen more it may be more often.
    times = max(1, available // 8_000 + 1)
    if times > MOST:
        story.say(f"But here the platform has {Money(available, 'usd')} available at Stripe: nobody needs to wait.")
        return
    hana = await _paid_in(story, times)
    ivan, jane = story.person("Ivan", "contractor"), story.person("Jane", "contractor")
    [account, _] = await onboard(story, ivan, jane, bank=PAYS)
    withdrawals = [await withdraw(story, contractor, 8_000 * times) for contractor in (ivan, jane)]
    story.say(
        f"Both are onboarded and withdraw them. But of all that the platform has at Stripe, only"
        f" {Money(available, 'usd')} are available by now: Stripe refuses both transfers."
    )
    for withdrawal in withdrawals:
        await until_it_is(story, withdrawal, "awaiting_funds", waiting="The sagas ask Stripe for the transfers …")
        await _reserved(story, story.operations[withdrawal["id"]], 8_000 * times)
    days = story.place.settings.pacing.funds_wait / 86_400
    story.say(f"That is no failure: the money is reserved, and both sagas await the funds, for up to {days:g} days.")
    await _called_off(story, jane, withdrawals[1], 8_000 * times)
    kim = await _rescued(story, times)
    paid = await until_it_is(story, withdrawals[0], "paid", waiting="Stripe's webhook tells the saga …")
    story.say("Ivan's saga is told and tries again. This time Stripe takes the transfer, and he is paid.")
    story.expect_bookings(
        paid["id"],
        [
            ("reserve", {"wallet_available": -8_000 * times, "wallet_in_transit": 8_000 * times}),
            ("transfer", {"connected_balance": -8_000 * times, "stripe_balance": 8_000 * times}),
            ("payout", {"payouts_in_flight": -8_000 * times, "connected_balance": 8_000 * times}),
            ("paid", {"wallet_in_transit": -8_000 * times, "payouts_in_flight": 8_000 * times}),
        ],
    )
    story.expect_balance(ivan, "usd", 0)
    story.expect("what is left on Ivan's account at Stripe, in cents", 0, await story.outside.held_by(account))
    for deposited in (hana, kim):
        await story.until_closed(deposited, waiting="Stripe will tell its fees in a moment …")


async def _paid_in(story: Story, times: int) -> str:
    """Money for both, which Stripe holds back; the deposit's id."""
    hana = story.person("Hana")
    story.say(
        f"Hana deposits {160 * times}.00 USD with an ordinary card. Stripe has the money, and lets the platform have it"
        " in some days."
    )
    deposited = await deposit(story, hana, 16_000 * times, "pm_card_visa")
    # 2.9 % of 160.00 is 4.64, and 0.30 for each charge.
    story.expect_bookings(
        deposited,
        [
            ("credit", {"stripe_balance": -16_000 * times, "wallet_available": 16_000 * times}),
            ("stripe_fee", {"stripe_balance": 464 * times + 30, "stripe_fees": -464 * times - 30}),
        ],
    )
    for name in ("Ivan", "Jane"):
        await earn(story, story.person(name, "contractor"), hana, 8_000 * times)
    story.say(
        f"Her wallet has it at once, and the marketplace moves {80 * times}.00 USD each to Ivan and Jane for their"
        " jobs."
    )
    story.expect_balance(hana, "usd", 0)
    return deposited


async def _reserved(story: Story, contractor: Person, amount: int) -> None:
    wallet = await wallet_of(story, contractor)
    story.expect(
        f"what {contractor.name}'s wallet holds while the funds are pending",
        {"available": 0, "in_transit": amount},
        {part: wallet[part] for part in ("available", "in_transit")},
    )


async def _called_off(story: Story, jane: Person, withdrawal: Json, amount: int) -> None:
    canceled = await story.post(jane, f"/v1/withdrawals/{withdrawal['id']}/cancel", {}, status=200)
    story.expect("Jane's withdrawal when she has canceled it", "canceled", canceled["status"])
    story.say("Jane would rather not wait. She cancels in time, and has all of it in her wallet again.")
    story.expect_bookings(
        withdrawal["id"],
        [
            ("reserve", {"wallet_available": -amount, "wallet_in_transit": amount}),
            ("restore", {"wallet_in_transit": -amount, "wallet_available": amount}),
        ],
    )
    story.expect_balance(jane, "usd", amount)


async def _rescued(story: Story, times: int) -> str:
    """As much as Ivan waits for, and available at once; the deposit's id."""
    kim = story.person("Kim")
    story.say(
        f"Then Kim deposits {80 * times}.00 USD with the card whose money is available at once, and Stripe says that"
        " the platform's funds have grown."
    )
    deposited = await deposit(story, kim, 8_000 * times, "pm_card_bypassPending")
    # 2.9 % of 80.00 is 2.32, and 0.30 for each charge: what was available before covers that.
    story.expect_bookings(
        deposited,
        [
            ("credit", {"stripe_balance": -8_000 * times, "wallet_available": 8_000 * times}),
            ("stripe_fee", {"stripe_balance": 232 * times + 30, "stripe_fees": -232 * times - 30}),
        ],
    )
    story.expect_balance(kim, "usd", 8_000 * times)
    return deposited
