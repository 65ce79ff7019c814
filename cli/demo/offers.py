"""What is done to offers in several chapters: a customer makes one, and its parties act.

An offer is followed as its customer's; what it must book its chapter says.
"""

from cli.demo.story import Json, Person, Story


async def make_offer(story: Story, customer: Person, contractor: Person, amount: int, **terms: object) -> str:
    """US cents for a contractor's job, into the customer's escrow; `terms` as the API has them. The offer's id."""
    wanted = {
        "contractor_id": contractor.user_id,
        "amount": amount,
        "currency": "usd",
        "job": f"{contractor.name}'s job for {customer.name}",
        **terms,
    }
    made = await story.post(customer, "/v1/offers", wanted, status=201)
    story.follow(customer, made["id"])
    story.expect(f"{customer.name}'s offer to {contractor.name}", "held", made["status"])
    return str(made["id"])


async def act(
    story: Story, person: Person, verb: str, offer_id: str, body: Json | None = None, *, becomes: str
) -> Json:
    """What a party may do to an offer. The offer as it then is: its status is expected to be what it `becomes`."""
    done = await story.post(person, f"/v1/offers/{offer_id}/{verb}", body or {}, status=200)
    story.expect(f"{story.operations[offer_id].name}'s offer after {person.name}'s {verb}", becomes, done["status"])
    return done


async def by_itself(story: Story, offer_id: str, status: str, *, last: str, waiting: str) -> None:
    """Waits until the clock has ended an offer, with `last` as what was done to it; this is its `status` then."""
    customer = story.operations[offer_id]
    ended = await story.until_closed(offer_id, waiting=waiting)
    story.expect(f"{customer.name}'s offer when its time was up", status, ended["status"])
    offer = await story.get(customer, f"/v1/offers/{offer_id}")
    done = [(action["verb"], action["party"]) for action in offer["actions"]]
    story.expect(f"what was last done to {customer.name}'s {status} offer", (last, "clock"), done[-1] if done else None)
