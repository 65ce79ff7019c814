"""A job in parts, each of which goes to the contractor's bank by itself."""

from cli.demo.contractors import until_it_is, wallet_of
from cli.demo.offers import act, make_offer
from cli.demo.story import Story

TITLE = "Lena pays Max's next job in parts, and he need not ask for any"


async def tell(story: Story) -> None:
    """Three releases, three withdrawals, and a service fee that rounding makes neither more nor less."""
    lena, max_ = story.person("Lena"), story.person("Max")
    story.say(
        "Lena offers Max 90.00 USD: two milestones of 33.33 USD each, and the rest at the end. Each part is to go to"
        " his bank by itself."
    )
    offer = await make_offer(story, lena, max_, 9_000, milestones=[3_333, 3_333], auto_payout=True)
    await act(story, max_, "accept", offer, becomes="accepted")
    for milestone in (1, 2):
        await act(story, lena, "release", offer, {"milestone": milestone}, becomes="accepted")
    story.say("She releases the first, and the second. What is left completes the offer.")
    completed = await act(story, lena, "complete", offer, becomes="completed")
    # 20 % of 33.33 are 6.67, of 66.66 they are 13.33, and of 90.00 they are 18.00.
    story.expect_bookings(
        offer,
        [
            ("hold", {"wallet_available": -9_450, "wallet_escrow": 9_450}),
            ("accept_fee", {"wallet_escrow": -450, "platform_fees": 450}),
            ("release#1", {"wallet_escrow": -3_333, "service_fees": 667, "wallet_available (Max)": 2_666}),
            ("release#2", {"wallet_escrow": -3_333, "service_fees": 666, "wallet_available (Max)": 2_667}),
            ("release#3", {"wallet_escrow": -2_334, "service_fees": 467, "wallet_available (Max)": 1_867}),
        ],
    )
    story.expect_balance(lena, "usd", 50)
    story.say(
        "The service fee is counted on all that was released so far: 6.67, 6.66 and 4.67 USD, which are 20 % of 90.00"
        " to the cent."
    )
    earned = [2_666, 2_667, 1_867]
    payouts = [await story.get(max_, f"/v1/withdrawals/{id}") for id in completed["payouts"]]
    story.expect("what goes on to Max's bank by itself, in cents", earned, [payout["amount"] for payout in payouts])
    for payout, amount in zip(payouts, earned, strict=False):
        story.follow(max_, payout["id"])
        await until_it_is(story, payout, "paid", waiting="The payouts are on their way to the bank …")
        story.expect_bookings(
            payout["id"],
            [
                ("reserve", {"wallet_available": -amount, "wallet_in_transit": amount}),
                ("transfer", {"connected_balance": -amount, "stripe_balance": amount}),
                ("payout", {"payouts_in_flight": -amount, "connected_balance": amount}),
                ("paid", {"wallet_in_transit": -amount, "payouts_in_flight": amount}),
            ],
        )
    story.say(
        "Each release has begun a withdrawal, in the same transaction: not even a crash comes in between. All three"
        " are paid, and Max has 72.00 USD more at his bank."
    )
    wallet = await wallet_of(story, max_)
    story.expect("what Max has withdrawn of both jobs, in cents", 15_200, wallet["totals"]["withdrawn"])
    story.expect_balance(max_, "usd", 0)
