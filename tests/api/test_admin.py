"""What operators do: to wallets, and for sagas that need help."""

import asyncio
import uuid
from typing import Any

from tests.api.conftest import hold_to_contract
from tests.api.counting import nothing_written
from tests.api.test_bad_input import names, problem
from tests.world import BRISK, Servers, World, open_world

# ── Wallets ──


async def _actions(world: World, wallet: str) -> list[Any]:
    query = "SELECT verb, actor, reason, seen::text FROM wallet_actions WHERE wallet_id = $1 ORDER BY created_at"
    return [tuple(row) for row in await world.sql(query, wallet)]


async def test_each_act_changes_its_flag_and_is_kept(world: World) -> None:
    wallet = (await world.accepted_deposit(user="wanda"))["wallet_id"]
    for verb, flags in (
        ("freeze", {"frozen": True, "active": True}),
        ("deactivate", {"frozen": True, "active": False}),
        ("unfreeze", {"frozen": False, "active": False}),
        ("activate", {"frozen": False, "active": True}),
    ):
        answer = await world.admin(f"wallets/{wallet}/{verb}", reason=f"to {verb}")
        assert answer.status_code == 200
        assert {name: answer.json()[name] for name in flags} == flags
        assert answer.json() == await world.get(f"/v1/wallets/{wallet}", user="wanda")
        if verb == "deactivate":
            problem(await world.deposit(user="wanda"), 409, "wallet-deactivated")
    assert await _actions(world, wallet) == [
        ("freeze", "root", "to freeze", '{"active": true, "frozen": false}'),
        ("deactivate", "root", "to deactivate", '{"active": true, "frozen": true}'),
        ("unfreeze", "root", "to unfreeze", '{"active": false, "frozen": true}'),
        ("activate", "root", "to activate", '{"active": false, "frozen": false}'),
    ]


async def test_replayed_act_is_not_done_again(world: World) -> None:
    """A repeated freeze does not undo the unfreeze that came after; another act needs a key of its own."""
    wallet = (await world.accepted_deposit(user="xena"))["wallet_id"]
    other = await world.accepted_deposit(user="yves")
    key = str(uuid.uuid4())
    answers = await asyncio.gather(*(world.admin(f"wallets/{wallet}/freeze", key=key) for _ in range(4)))
    assert {(answer.status_code, answer.json()["frozen"]) for answer in answers} == {(200, True)}
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == ["", *["true"] * 3]
    await world.admin(f"wallets/{wallet}/unfreeze")
    again = await world.admin(f"wallets/{wallet}/freeze", key=key)
    assert (again.json()["frozen"], again.headers["Idempotent-Replayed"]) == (False, "true")
    assert [row[0] for row in await _actions(world, wallet)] == ["freeze", "unfreeze"]

    async with nothing_written(world):
        for path, reason in (
            (f"wallets/{wallet}/deactivate", "a test"),
            (f"wallets/{other['wallet_id']}/freeze", "a test"),
            (f"wallets/{wallet}/freeze", "another reason"),
            (f"operations/{other['id']}/retry", "a test"),
        ):
            problem(await world.admin(path, reason=reason, key=key), 422, "idempotency-key-reused")
        cancel = f"/v1/deposits/{other['id']}/cancel"
        answer = await world.call("POST", cancel, user="root", role="admin", key=key)
        problem(answer, 422, "idempotency-key-reused")
    # Nor may a key of an operation's be used on a wallet.
    assert (await world.call("POST", cancel, user="root", role="admin", key="c")).status_code == 200
    problem(await world.admin(f"wallets/{wallet}/freeze", key="c"), 422, "idempotency-key-reused")


async def test_one_key_on_two_wallets_at_once(world: World) -> None:
    wallets = [(await world.accepted_deposit(user=user))["wallet_id"] for user in ("ying", "yang")]
    answers = await asyncio.gather(*(world.admin(f"wallets/{wallet}/freeze", key="both") for wallet in wallets))
    assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_bad_form(world: World) -> None:
    deposit = await world.accepted_deposit(user="zita")
    async with nothing_written(world):
        for path in (f"wallets/{deposit['wallet_id']}/freeze", f"operations/{deposit['id']}/retry"):
            for reason in ("", " ", "a\nb", "x" * 501, 7, None):
                answer = await world.call("POST", f"/v1/admin/{path}", {"reason": reason}, user="root", role="admin")
                names(answer, "reason")
            names(await world.call("POST", f"/v1/admin/{path}", {}, user="root", role="admin"), "reason")
            more = {"reason": "x", "actor": "somebody else"}
            names(await world.call("POST", f"/v1/admin/{path}", more, user="root", role="admin"), "actor")
        for path in (
            *(f"wallets/{name}/freeze" for name in ("wal_x", deposit["id"], "%00")),
            *(f"operations/%00/{verb}" for verb in ("retry", "resume")),
            f"wallets/{deposit['wallet_id']}/empty",
        ):
            problem(await world.admin(path), 404, "not-found")


# ── Sagas ──


async def _acts(world: World, operation_id: str) -> list[tuple[Any, ...]]:
    query = "SELECT verb, actor, reason FROM operator_actions WHERE operation_id = $1 ORDER BY created_at"
    return [tuple(row) for row in await world.sql(query, operation_id)]


async def test_retry(servers: Servers) -> None:
    """A saga that was put off for long goes on at once, and who wanted that is kept once."""
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient, answer_within=1.0) as world:
        await hold_to_contract(world)
        await world.sandbox.control("POST", "faults", path="/v1/payment_intents", kind="error_before", times=None)
        stuck = (await world.deposit()).json()["id"]
        await world.until(stuck, lambda now: now["retries"] > 0)
        await world.sandbox.control("DELETE", "faults")

        key = str(uuid.uuid4())
        answers = [await world.admin(f"operations/{stuck}/retry", reason="Stripe is back", key=key) for _ in range(2)]

        assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(200, stuck)] * 2
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
        await world.until(stuck, lambda now: now["status"] == "awaiting_payment")
        assert await _acts(world, stuck) == [("retry", "root", "Stripe is back")]
        other = await world.admin(f"operations/{stuck}/retry", reason="another", key=key)
        problem(other, 422, "idempotency-key-reused")


async def test_nothing_to_help(world: World) -> None:
    """A saga that is over can be neither hurried nor resumed; one that runs not resumed. Each is replayed.

    No event is delivered, for a late one starts a short saga that looks at what is over, and that could be hurried.
    """
    await world.sandbox.event_fault("*", "drop")
    running = (await world.accepted_deposit(user="runs"))["id"]
    over = (await world.accepted_deposit(user="over"))["id"]
    await world.call("POST", f"/v1/deposits/{over}/cancel", user="over")
    await world.closed(over)
    await world.workflow(over).result()
    for operation_id, verb in ((over, "retry"), (over, "resume"), (running, "resume")):
        key = str(uuid.uuid4())
        answers = [await world.admin(f"operations/{operation_id}/{verb}", key=key) for _ in range(2)]
        assert problem(answers[0], 409, "not-resumable")["operation_id"] == operation_id
        assert answers[1].content == answers[0].content
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]


async def test_resume(world: World) -> None:
    """A terminated saga is started again, once, and ends as it would have; for whoever asks again it was done."""
    deposit = await world.accepted_deposit(user="resumed")
    await world.workflow(deposit["id"]).terminate()
    retried = await world.admin(f"operations/{deposit['id']}/retry")
    problem(retried, 409, "not-resumable")

    key = str(uuid.uuid4())
    answers = [await world.admin(f"operations/{deposit['id']}/resume", reason="slipped", key=key) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert await _acts(world, deposit["id"]) == [("retry", "root", "a test"), ("resume", "root", "slipped")]
    assert await world.runs(deposit["id"]) == 2
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    assert (await world.closed(deposit["id"]))["status"] == "succeeded"
    assert len(await world.sandbox.requests("/v1/payment_intents")) == len(
        {request["idempotency_key"] for request in await world.sandbox.requests("/v1/payment_intents")}
    )
