"""Making, repeating, refusing and canceling deposits."""

import asyncio
import uuid

from google.protobuf.json_format import MessageToJson
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from tests.api.counting import nothing_written, quiet, rows
from tests.api.test_bad_input import post, problem
from tests.world import World

DECLINED = "pm_card_chargeDeclinedInsufficientFunds"


async def test_made_then_replayed(world: World) -> None:
    key = str(uuid.uuid4())
    first = await world.deposit(user="made", key=key)
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    deposit = first.json()
    assert first.headers["location"] == f"/v1/deposits/{deposit['id']}"
    assert (deposit["kind"], deposit["status"], deposit["user_id"]) == ("deposit", "awaiting_payment", "made")
    assert (deposit["amount"], deposit["currency"], deposit["failure"]) == (20_000, "usd", None)

    async with nothing_written(world):
        again = await world.deposit(user="made", key=key)
        assert again.status_code == 200
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json() == deposit

    # A replay shows the operation as it is by then.
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.closed(deposit["id"])
    late = await world.deposit(user="made", key=key)
    assert (late.status_code, late.json()["status"], late.json()["client_secret"]) == (200, "succeeded", None)


async def test_same_key_in_other_json_is_the_same_request(world: World) -> None:
    bodies = (
        b'{"amount":20000,"currency":"usd","payment_method":"pm_card_visa"}',
        b' {\n"payment_method" : "pm_card_visa", "currency":"\\u0075sd", "amount" :\t20000 }\n',
    )
    answers = [await post(world, body, Idempotency_Key="formatted") for body in bodies]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_f02_same_key_other_body(world: World) -> None:
    """The same key with another request is refused, and nothing is written."""
    key = str(uuid.uuid4())
    deposit = (await world.deposit(user="reused", key=key)).json()
    async with nothing_written(world):
        for amount, code, more in ((20_001, "usd", {}), (20_000, "eur", {}), (20_000, "usd", {"user_id": "reused"})):
            answer = await world.deposit(amount, code, user="reused", key=key, **more)
            problem(answer, 422, "idempotency-key-reused")
        # Nor may another path use it, or another role of the same caller for something else.
        cancel = await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel", user="reused", key=key)
        problem(cancel, 422, "idempotency-key-reused")
    assert (await world.operation(deposit["id"]))["status"] == "awaiting_payment"


async def test_key_of_a_cancel_cannot_deposit(world: World) -> None:
    one, two = [(await world.deposit(user="reverse")).json()["id"] for _ in range(2)]
    assert (await world.call("POST", f"/v1/deposits/{one}/cancel", user="reverse", key="c")).status_code == 200
    async with nothing_written(world):
        problem(await world.deposit(user="reverse", key="c"), 422, "idempotency-key-reused")
        other = await world.call("POST", f"/v1/deposits/{two}/cancel", user="reverse", key="c")
        problem(other, 422, "idempotency-key-reused")


async def test_replay_does_not_depend_on_todays_bounds(world: World) -> None:
    """What was accepted stays accepted, even if the settings would refuse it by now."""
    key = str(uuid.uuid4())
    deposit = (await world.deposit(user="bounds", key=key)).json()
    bounds = world.settings.deposit_bounds["usd"]
    world.settings.deposit_bounds["usd"] = bounds.model_copy(update={"smallest": 50_000})
    try:
        again = await world.deposit(user="bounds", key=key)
        problem(await world.deposit(user="bounds"), 422, "invalid-field")
    finally:
        world.settings.deposit_bounds["usd"] = bounds
    assert (again.status_code, again.json()["id"]) == (200, deposit["id"])


async def test_declined_card(world: World) -> None:
    key = str(uuid.uuid4())
    answers = [await world.deposit(user="poor", key=key, payment_method=DECLINED) for _ in range(3)]
    for answer in answers:
        found = problem(answer, 402, "card-declined")
        assert found["decline_code"] == "insufficient_funds"
        assert found["operation_id"].startswith("dep_")
        assert answer.json() == answers[0].json()
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    operation = await world.closed(answers[0].json()["operation_id"])
    assert operation["status"] == "failed"
    assert operation["failure"]["decline_code"] == "insufficient_funds"
    assert operation["postings"] == []
    assert [event["type"] for event in operation["events"]] == ["deposit.requested", "deposit.failed"]


async def test_deactivated_wallet(world: World) -> None:
    """A refusal by state leaves one failed operation with its reason and nothing else, and is replayed."""
    await world.accepted_deposit(user="closed")
    await world.sql("UPDATE wallets SET active = false WHERE user_id = 'closed'")
    await quiet(world)
    before, asked = await rows(world), len(await world.sandbox.requests("*"))

    key = str(uuid.uuid4())
    answers = [await world.deposit(user="closed", key=key) for _ in range(3)]

    for answer in answers:
        found = problem(answer, 409, "wallet-deactivated")
        assert answer.json() == answers[0].json()
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    written = {name: count - before[name] for name, count in (await rows(world)).items() if count != before[name]}
    assert written == {"operations": 1, "requests": 1, "events": 1}
    assert len(await world.sandbox.requests("*")) == asked
    operation = await world.operation(found["operation_id"])
    assert (operation["status"], operation["failure"]["code"]) == ("failed", "wallet-deactivated")
    assert operation["closed_at"] is not None
    assert [operation[name] for name in ("steps", "calls", "postings", "stripe_events")] == [[], [], [], []]
    assert [event["type"] for event in operation["events"]] == ["deposit.failed"]
    await world.sweep()
    assert await world.runs(operation["id"]) == 0

    # It cannot be canceled either, and stays refused when the wallet is active again; a fresh key is a fresh request.
    problem(await world.call("POST", f"/v1/deposits/{operation['id']}/cancel", user="closed"), 409, "not-cancelable")
    await world.sql("UPDATE wallets SET active = true WHERE user_id = 'closed'")
    problem(await world.deposit(user="closed", key=key), 409, "wallet-deactivated")
    assert (await world.deposit(user="closed")).status_code == 201


async def test_cancel(world: World) -> None:
    deposit = await world.accepted_deposit(user="cancels")
    path = f"/v1/deposits/{deposit['id']}/cancel"
    first = await world.call("POST", path, user="cancels", key="c1")
    assert (first.status_code, first.json()["status"]) == (200, "canceled")
    assert "Idempotent-Replayed" not in first.headers
    again = await world.call("POST", path, user="cancels", key="c1")
    assert (again.status_code, again.json()["status"]) == (200, "canceled")
    assert again.headers["Idempotent-Replayed"] == "true"
    # Asked for by another key, it is what it already is.
    other = await world.call("POST", path, {}, user="cancels", key="c2")
    assert (other.status_code, other.json()["status"]) == (200, "canceled")
    intent = await world.sandbox.get(f"payment_intents/{deposit['payment_intent']}")
    assert intent["status"] == "canceled"
    assert await world.available("cancels") == 0


async def test_cancel_in_the_wrong_state(world: World) -> None:
    paid = await world.accepted_deposit(user="late", payment_method="pm_card_visa")
    failed = (await world.deposit(user="late", payment_method=DECLINED)).json()["operation_id"]
    await world.closed(paid["id"])
    await world.closed(failed)
    for operation_id, status in ((paid["id"], "succeeded"), (failed, "failed")):
        await quiet(world)
        before = await world.operation(operation_id)
        asked = len(await world.sandbox.requests("*"))
        path, key = f"/v1/deposits/{operation_id}/cancel", str(uuid.uuid4())
        answers = [await world.call("POST", path, user="late", key=key) for _ in range(2)]
        for answer in answers:
            found = problem(answer, 409, "not-cancelable")
            assert found["detail"] == f"The deposit is {status}."
            assert found["operation_id"] == operation_id
        assert answers[0].content == answers[1].content
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
        after = await world.operation(operation_id)
        assert all(after[name] == before[name] for name in ("status", "failure", "calls", "postings", "events"))
        assert len(await world.sandbox.requests("*")) == asked


async def test_cancel_while_the_fee_is_awaited(world: World) -> None:
    """Succeeded and still watched by its saga: the saga itself refuses, and that too is replayed."""
    deposit = await world.accepted_deposit(user="watching")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.until(deposit["id"], lambda operation: operation["status"] == "succeeded")
    path = f"/v1/deposits/{deposit['id']}/cancel"
    answers = [await world.call("POST", path, user="watching", key="w") for _ in range(2)]
    assert [problem(answer, 409, "not-cancelable")["detail"] for answer in answers] == ["The deposit is succeeded."] * 2


async def test_many_cancels_at_once(world: World) -> None:
    deposit = await world.accepted_deposit(user="crowd")
    path = f"/v1/deposits/{deposit['id']}/cancel"
    answers = await asyncio.gather(
        *(world.call("POST", path, user="crowd", key=f"k{number % 4}") for number in range(12))
    )
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "canceled")}
    assert len(await world.sandbox.requests(f"/v1/payment_intents/{deposit['payment_intent']}/cancel")) == 1


# ── The client secret ──


async def test_client_secret_only_while_it_awaits_payment(world: World) -> None:
    deposit = await world.accepted_deposit(user="secret")
    secret = deposit["client_secret"]
    assert secret.startswith(f"{deposit['payment_intent']}_secret_")
    path = f"/v1/deposits/{deposit['id']}"
    assert (await world.get(path, user="secret"))["client_secret"] == secret
    assert (await world.get(path, user="shop", role="service"))["client_secret"] == secret
    assert (await world.get(path, user="root", role="admin"))["client_secret"] is None
    [listed] = (await world.get("/v1/deposits", user="secret"))["data"]
    assert listed["client_secret"] is None
    assert "client_secret" not in await world.operation(deposit["id"])

    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.closed(deposit["id"])
    assert (await world.get(path, user="secret"))["client_secret"] is None


async def test_client_secret_is_null_while_stripe_is_down(world: World) -> None:
    deposit = await world.accepted_deposit(user="outage", key="outage")
    path = f"/v1/payment_intents/{deposit['payment_intent']}"
    await world.sandbox.control("POST", "faults", method="GET", path=path, kind="server_error", times=None)
    try:
        read = await world.get(f"/v1/deposits/{deposit['id']}", user="outage")
        replayed = await world.deposit(user="outage", key="outage")
    finally:
        await world.sandbox.control("DELETE", "faults")
    assert (read["status"], read["client_secret"]) == ("awaiting_payment", None)
    assert (replayed.status_code, replayed.json()["client_secret"]) == (200, None)
    back = await world.get(f"/v1/deposits/{deposit['id']}", user="outage")
    assert back["client_secret"] == deposit["client_secret"]


async def test_f54_no_secret_and_no_person_in_postgres_or_the_history(world: World) -> None:
    """A client secret is kept nowhere; a person's name where they gave it, and in what Stripe was told and said."""
    person = {"email": "pia.private@example.com", "name": "Pia Private"}
    subject = "pia.subject@example.com"
    await world.call("PUT", "/v1/me", person, user=subject)
    deposit = await world.accepted_deposit(user=subject)
    assert (await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel", user=subject)).status_code == 200
    await world.sandbox.deliver((await world.sandbox.until_event("payment_intent.canceled"))["id"])
    assert await world.sql("SELECT FROM stripe_events WHERE operation_id = $1", deposit["id"])

    history = await world.workflow(deposit["id"]).fetch_history()
    told = MessageToJson(await _described(world, deposit["id"]))
    for text in (history.to_json(), told):
        for hidden in (deposit["client_secret"], "_secret_", "Private", "private", subject):
            assert hidden not in text
    tables = [row["relname"] for row in await world.sql("SELECT relname FROM pg_stat_user_tables")]
    for table in tables:
        found = str(await world.sql(f"SELECT t::text FROM {table} t"))
        assert "_secret_" not in found, table
        assert "Private" not in found or table in ("users", "stripe_calls", "stripe_events"), table


async def _described(world: World, workflow_id: str) -> DescribeWorkflowExecutionResponse:
    return (await world.workflow(workflow_id).describe()).raw_description


# ── The profile ──


async def test_profile_reaches_stripes_customer(world: World) -> None:
    assert (await world.call("GET", "/v1/me", user="petra")).json() == {
        "email": None, "name": None, "country": None, "locale": None, "channels": []
    }  # fmt: skip
    profile = {
        "email": "petra@example.com",
        "name": "Petra Päffgen 🎈",
        "country": "DE",
        "locale": "de-DE",
        "channels": ["email", "push"],
    }
    answer = await world.call("PUT", "/v1/me", profile, user="petra")
    assert (answer.status_code, answer.json()) == (200, profile)
    assert await world.get("/v1/me", user="petra") == profile

    deposit = await world.accepted_deposit(user="petra")

    intent = await world.sandbox.get(f"payment_intents/{deposit['payment_intent']}")
    customer = await world.sandbox.get(f"customers/{intent['customer']}")
    assert (customer["email"], customer["name"]) == (profile["email"], profile["name"])
    assert "petra" not in str(customer["metadata"])


async def test_profile_is_replaced_whole(world: World) -> None:
    await world.call("PUT", "/v1/me", {"name": "Quin", "email": "q@example.com"}, user="quin")
    answer = await world.call("PUT", "/v1/me", {"name": "Quin"}, user="quin")
    assert answer.json() == {"email": None, "name": "Quin", "country": None, "locale": None, "channels": []}
    assert await world.get("/v1/me", user="quin") == answer.json()
    for role in ("contractor", "admin", "service"):
        assert (await world.get("/v1/me", user="quin", role=role))["name"] == "Quin"
