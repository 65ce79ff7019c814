"""An offer whose parties disagree."""

from cli.demo.offers import act, make_offer
from cli.demo.story import Story

TITLE = "Alice and Quinn disagree, and somebody has to decide"


async def tell(story: Story) -> None:
    """An operator splits what is in escrow, 60 to 40; the service fee is charged on Quinn's share alone."""
    alice, quinn = story.person("Alice"), story.person("Quinn", "contractor")
    rosa = story.person("Rosa", "admin")
    offer = await make_offer(story, alice, quinn, 10_000)
    await act(story, quinn, "accept", offer, becomes="accepted")
    await act(story, quinn, "deliver", offer, becomes="delivered")
    story.say(
        "Quinn has accepted a job of Alice's for 100.00 USD, and says that it is done. Alice finds only half of it."
    )
    contested = await act(story, alice, "contest", offer, {"reason": "half of it is missing"}, becomes="contested")
    story.expect("what is left of Alice's contested offer, in cents", 10_000, contested["left"])
    story.say("She contests it. From now on no time runs, and nothing moves: an operator has to decide.")

    share = {"to_contractor": 6_000, "to_customer": 4_000, "reason": "most of it was there"}
    resolved = await story.post(rosa, f"/v1/admin/offers/{offer}/resolve", share, status=200)
    story.say("Rosa, of the marketplace, asks both, and splits it: 60.00 USD are for Quinn, and 40.00 for Alice.")
    story.expect("Alice's offer after Rosa's resolve", "resolved", resolved["status"])
    last = resolved["actions"][-1]
    story.expect(
        "what is kept of Rosa's decision",
        ("resolve", "operator", rosa.user_id, share["reason"]),
        (last["verb"], last["party"], last["actor"], last["reason"]),
    )
    story.say(
        "The service fee is 20 % of Quinn's 60.00 USD alone: 48.00 are his. Who decided, and why, is on the offer."
    )
    story.expect_bookings(
        offer,
        [
            ("hold", {"wallet_available": -10_500, "wallet_escrow": 10_500}),
            ("accept_fee", {"wallet_escrow": -500, "platform_fees": 500}),
            ("release#1", {"wallet_escrow": -6_000, "service_fees": 1_200, "wallet_available (Quinn)": 4_800}),
            ("return", {"wallet_escrow": -4_000, "wallet_available": 4_000}),
        ],
    )
    story.expect_balance(alice, "usd", 9_300)
    story.expect_balance(quinn, "usd", 4_800)
