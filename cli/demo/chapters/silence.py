"""Three offers: one is declined, on one the contractor says nothing, and on one the customer does not."""

from cli.demo.offers import act, by_itself, make_offer
from cli.demo.story import Story

TITLE = "Nils declines, Olga never answers, and Alice never answers Pete"

SOON = 1
"""Seconds instead of days, as in development only."""


async def tell(story: Story) -> None:
    """Alice gets back what nobody took, and Pete gets what he has earned."""
    alice = story.person("Alice")
    nils, olga, pete = (story.person(name, "contractor") for name in ("Nils", "Olga", "Pete"))
    terms = story.place.settings.offer_terms
    story.say(
        "Alice, who has 200.00 USD, offers 40.00 USD each to Nils, Olga and Pete, with 2.00 on top for the platform."
    )
    ignored = await make_offer(story, alice, olga, 4_000, accept_within=SOON)
    delivered = await make_offer(story, alice, pete, 4_000, complete_within=SOON)
    await act(story, pete, "accept", delivered, becomes="accepted")
    await act(story, pete, "deliver", delivered, becomes="delivered")
    declined = await make_offer(story, alice, nils, 4_000)
    await act(story, nils, "decline", declined, {"reason": "no time"}, becomes="declined")
    story.say("Nils has no time, and declines: all 42.00 USD are Alice's again. Pete has accepted and delivered.")

    await by_itself(story, ignored, "expired", last="expire", waiting="Nobody says a word …")
    story.say(
        f"Olga says nothing, and the offer expires: all of it is Alice's again. That takes"
        f" {terms.accept_within / 86_400:g} days; here it is told to take {SOON} s. Now she would like to accept:"
    )
    problem = await story.post(olga, f"/v1/offers/{ignored}/accept", {}, status=409)
    story.show({part: problem.get(part) for part in ("type", "status", "detail")})
    story.expect("why Olga cannot accept any more", "wrong-state", str(problem.get("type")).rpartition("/")[2])
    await by_itself(story, delivered, "completed", last="auto_complete", waiting="Nobody says a word …")
    story.say(
        f"Alice does not say whether she is content with Pete. After {terms.complete_within / 86_400:g} days, here"
        f" {SOON} s, her offer completes by itself, and he has his 32.00 USD."
    )
    for offer in (declined, ignored):
        story.expect_bookings(
            offer,
            [
                ("hold", {"wallet_available": -4_200, "wallet_escrow": 4_200}),
                ("return", {"wallet_escrow": -4_200, "wallet_available": 4_200}),
            ],
        )
    story.expect_bookings(
        delivered,
        [
            ("hold", {"wallet_available": -4_200, "wallet_escrow": 4_200}),
            ("accept_fee", {"wallet_escrow": -200, "platform_fees": 200}),
            ("release#1", {"wallet_escrow": -4_000, "service_fees": 800, "wallet_available (Pete)": 3_200}),
        ],
    )
    story.expect_balance(alice, "usd", 15_800)
    story.expect_balance(nils, "usd", 0)
    story.expect_balance(olga, "usd", 0)
    story.expect_balance(pete, "usd", 3_200)
