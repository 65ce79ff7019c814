"""Operators press everything: each act is held against the evidence, done once and kept; so is what is refused."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.auditing import assert_clean
from tests.stuck import quiet, short_of, transfer_by_hand, transfer_in_doubt
from tests.workflows.meddling import reset
from tests.world import BRISK, Servers, World, open_world

pytestmark = pytest.mark.long

SLOW_TO_RETRY = BRISK.model_copy(update={"saga_retries": (600.0,), "absent_apart": 0.5, "activity_attempts": 1})


async def _acts(world: World, operation_id: str) -> list[tuple[str, str, str | None]]:
    """Verb, actor and the refusal's code of each act that is kept."""
    rows = await world.get(f"/v1/admin/operations/{operation_id}/actions", user="root", role="admin")
    return [(row["verb"], row["actor"], row["refusal"] and row["refusal"]["code"]) for row in rows]


def _refused(answer: Any, code: str, *, status: int = 409) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"].endswith(f"/{code}"), answer.text
    return str(answer.json()["detail"])


# ── Adopt ──


async def test_adopted_transfer_is_paid_out(servers: Servers) -> None:
    async with open_world(servers, pacing=SLOW_TO_RETRY, answer_within=1.0) as world:
        # Given a transfer in doubt, which somebody has made by hand meanwhile
        withdrawal, account = await transfer_in_doubt(world)
        made = await transfer_by_hand(world, account, withdrawal)
        await quiet(world)

        # When an operator says so, twice with one key
        answers = [
            await world.help(withdrawal, "adopt", step="create_transfer", stripe_id=made, key="once") for _ in "ab"
        ]

        # Then the saga goes on with it, and has sent none of its own
        assert [answer.status_code for answer in answers] == [200, 200]
        closed = await world.closed(withdrawal)
        assert closed["status"] == "paid"
        assert closed["details"]["transfer"] == made
        assert [transfer["id"] for transfer in await world.sandbox.listed("transfers")] == [made]
        assert await _acts(world, withdrawal) == [("adopt", "root", None)]
        await assert_clean(world)


async def test_what_is_not_the_operations_is_not_adopted(servers: Servers) -> None:
    async with open_world(servers, pacing=SLOW_TO_RETRY, answer_within=1.0) as world:
        # Given a transfer in doubt; another withdrawal's transfer; and transfers that differ
        account = await world.onboarded()
        await world.funded("carl", 60_000)
        other = await world.accepted_withdrawal(8_000)
        await world.closed(other)
        [others] = await world.sandbox.listed("transfers")
        await world.sandbox.fault("POST", "/v1/transfers", "error_before", times=1_000)
        withdrawal = (await world.withdraw(8_000)).json()["id"]
        await world.until(withdrawal, lambda now: now["needs_attention"] or now["retries"] > 0)
        await world.sandbox.control("DELETE", "faults")
        less = await transfer_by_hand(world, account, withdrawal, amount=7_000)
        astray = await transfer_by_hand(world, account, "wd_other")

        async def adopting(stripe_id: str, step: str = "create_transfer") -> Any:
            return await world.help(withdrawal, "adopt", step=step, stripe_id=stripe_id)

        # Then none of them is adopted, and each refusal says what the evidence is
        assert "its metadata name step create_transfer of " + other in _refused(
            await adopting(others["id"]), "evidence-against"
        )
        assert "its amount is 7000, not 8000" in _refused(await adopting(less), "evidence-against")
        assert "its transfer_group is 'wd_other'" in _refused(await adopting(astray), "evidence-against")
        assert "Stripe knows no tr_none" in _refused(await adopting("tr_none"), "evidence-against")
        assert "nothing by the name of 'create_payout'" in _refused(
            await adopting("po_1", "create_payout"), "verb-not-possible"
        )

        # And nothing has happened but that this is kept
        assert [code for *_, code in await _acts(world, withdrawal)] == ["evidence-against"] * 4 + ["verb-not-possible"]
        now = await world.operation(withdrawal)
        assert (now["status"], [call["outcome"] for call in now["calls"]]) == ("reserved", [None])


async def test_nothing_is_adopted_beside_what_is_on_its_way(servers: Servers) -> None:
    patient = SLOW_TO_RETRY.model_copy(update={"absent_apart": 600.0})
    async with open_world(servers, pacing=patient, answer_within=1.0) as world:
        # Given a transfer that may still come to light, and one that somebody has made by hand meanwhile
        withdrawal, account = await transfer_in_doubt(world)
        by_hand = await transfer_by_hand(world, account, withdrawal)

        # Then it is not adopted before the other can be there no more
        for skipped in (0, 300):
            await world.skip(skipped)
            refused = await world.help(withdrawal, "adopt", step="create_transfer", stripe_id=by_hand)
            assert "may come to light until 600 seconds after its last sending" in _refused(refused, "outcome-unknown")
        await world.skip(300)
        assert (await world.help(withdrawal, "adopt", step="create_transfer", stripe_id=by_hand)).status_code == 200
        assert (await world.closed(withdrawal))["details"]["transfer"] == by_hand
        await world.settled_events()
        await assert_clean(world)


async def test_nothing_is_adopted_beside_what_was_made(servers: Servers) -> None:
    async with open_world(servers, pacing=SLOW_TO_RETRY, answer_within=1.0) as world:
        # Given a transfer that was made though the answer never came, and another that somebody has made by hand
        withdrawal, account = await transfer_in_doubt(world, "drop_after_commit")
        [own] = [transfer["id"] for transfer in await world.sandbox.listed("transfers")]
        by_hand = await transfer_by_hand(world, account, withdrawal)
        await quiet(world)

        # Then the first speaks against the second
        refused = await world.help(withdrawal, "adopt", step="create_transfer", stripe_id=by_hand)
        assert f"{own} is what this very call has made" in _refused(refused, "evidence-against")

        # And is adopted itself, at any time
        assert (await world.help(withdrawal, "adopt", step="create_transfer", stripe_id=own)).status_code == 200
        assert (await world.closed(withdrawal))["details"]["transfer"] == own


async def test_what_is_known_is_not_adopted_over(world: World) -> None:
    await world.onboarded()
    await world.funded("carl", 20_000)
    await world.sandbox.payout_fault("hold")
    withdrawal = await world.accepted_withdrawal()
    paying = await world.until(withdrawal, lambda now: now["status"] == "paying_out")

    refused = await world.help(withdrawal, "adopt", step="create_transfer", stripe_id=paying["details"]["transfer"])

    assert f"done, {paying['details']['transfer']}" in _refused(refused, "verb-not-possible")


async def test_f47_two_operators_adopt_at_once(servers: Servers) -> None:
    async with open_world(servers, pacing=SLOW_TO_RETRY, answer_within=5.0) as world:
        withdrawal, account = await transfer_in_doubt(world)
        made = [await transfer_by_hand(world, account, withdrawal) for _ in "ab"]
        await quiet(world)

        # When two operators adopt two objects for one step
        answers = await asyncio.gather(
            *(
                world.help(withdrawal, "adopt", admin=admin, step="create_transfer", stripe_id=stripe_id)
                for admin, stripe_id in zip(("olivia", "oscar"), made, strict=True)
            )
        )

        # Then one is first, and each is kept
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        closed = await world.closed(withdrawal)
        first = made[[answer.status_code for answer in answers].index(200)]
        assert (closed["status"], closed["details"]["transfer"]) == ("paid", first)
        assert sorted(code or "" for *_, code in await _acts(world, withdrawal)) == ["", "verb-not-possible"]


# ── Compensate ──


async def test_nothing_is_compensated_while_unknown(servers: Servers) -> None:
    patient = SLOW_TO_RETRY.model_copy(update={"absent_apart": 600.0})
    async with open_world(servers, pacing=patient, answer_within=1.0) as world:
        # Given a transfer that may have been made
        withdrawal, _ = await transfer_in_doubt(world)

        # When an operator gives it up, then not before two look-ups have found nothing, far enough apart
        for _ in range(2):
            assert "That is certain from" in _refused(await world.help(withdrawal, "compensate"), "outcome-unknown")
        assert (await world.operation(withdrawal))["status"] == "reserved"
        assert await world.available("carl") == 12_000

        await world.skip(601)
        assert (await world.help(withdrawal, "compensate")).status_code == 200

        # Then it is in the wallet again, and no transfer is ever made
        assert (await world.closed(withdrawal))["status"] == "canceled"
        assert await world.available("carl") == 20_000
        assert await world.sandbox.listed("transfers") == []
        codes = [code for *_, code in await _acts(world, withdrawal)]
        assert codes == ["outcome-unknown", "outcome-unknown", None]
        await world.settled_events()
        await assert_clean(world)


async def test_compensating_finds_that_it_was_done(servers: Servers) -> None:
    async with open_world(servers, pacing=SLOW_TO_RETRY, answer_within=1.0) as world:
        # Given a transfer that Stripe has made without our knowing
        await world.onboarded()
        await world.funded("carl", 20_000)
        await world.sandbox.fault("POST", "/v1/transfers", "drop_after_commit", times=1_000)
        withdrawal = (await world.withdraw(8_000)).json()["id"]
        await world.until(withdrawal, lambda now: now["retries"] > 0)
        await world.sandbox.control("DELETE", "faults")

        assert (await world.help(withdrawal, "compensate")).status_code == 200

        # Then that is taken back
        assert (await world.closed(withdrawal))["status"] == "canceled"
        [transfer] = await world.sandbox.listed("transfers")
        assert transfer["reversed"]
        assert await world.available("carl") == 20_000
        await assert_clean(world)


async def test_parked_saga_is_given_up(servers: Servers) -> None:
    async with open_world(servers, pacing=SLOW_TO_RETRY, answer_within=1.0) as world:
        # Given a deposit whose key Stripe has seen with other parameters: nothing but an operator ends that
        await world.sandbox.fault("POST", "/v1/payment_intents", "drop_after_commit", times=1)
        deposit = (await world.deposit()).json()["id"]
        await world.until(deposit, lambda now: now["retries"] > 0)
        await world.sql("ALTER TABLE stripe_calls DISABLE TRIGGER ALL")
        await world.sql("UPDATE stripe_calls SET params = params || '{\"amount\": 20001}' WHERE step LIKE '%intent'")
        await world.retry(deposit, reason="see what happens")
        await world.until(deposit, lambda now: now["needs_attention"])

        assert (await world.help(deposit, "compensate")).status_code == 200

        closed = await world.closed(deposit)
        assert (closed["status"], closed["needs_attention"]) == ("canceled", False)
        [intent] = await world.sandbox.listed("payment_intents")
        assert intent["status"] == "canceled"
        await assert_clean(world)


async def test_withdrawal_that_awaits_funds_is_given_up_and_stays_so(world: World) -> None:
    await world.onboarded()
    await world.funded("carl", 20_000)
    await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")

    assert (await world.help(withdrawal, "compensate")).status_code == 200

    assert (await world.closed(withdrawal))["status"] == "canceled"
    assert await world.sandbox.listed("transfers") == []
    assert await world.available("carl") == 20_000
    again = await world.help(withdrawal, "compensate")
    _refused(again, "not-resumable")


async def test_past_the_point_of_no_return_nothing_is_compensated(world: World) -> None:
    # Given a payout on its way, a deposit that is being booked, and an offer
    await world.onboarded()
    await world.funded("carl", 20_000)
    await world.sandbox.payout_fault("hold")
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "paying_out")
    await world.funded("alice", 20_000)
    offer = await world.held_offer(10_000)

    assert "point of no return" in _refused(await world.help(withdrawal, "compensate"), "verb-not-possible")
    assert "nothing at Stripe" in _refused(await world.help(offer, "compensate"), "verb-not-possible")
    assert "done, po_" in (await _acts_seen(world, withdrawal))

    assert (await world.operation(withdrawal))["status"] == "paying_out"


async def _acts_seen(world: World, operation_id: str) -> str:
    rows = await world.get(f"/v1/admin/operations/{operation_id}/actions", user="root", role="admin")
    return str(rows)


# ── Write off ──


async def test_what_cannot_be_had_back_is_written_off(servers: Servers) -> None:
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient) as world:
        withdrawal = await short_of(world, 3_000)

        answer = await world.help(withdrawal, "write-off")

        # Then what came back is in the wallet, and the rest is nobody's but the owner's
        assert answer.status_code == 200, answer.text
        closed = await world.closed(withdrawal)
        assert (closed["status"], closed["needs_attention"]) == ("written_off", False)
        assert closed["failure"]["code"] == "written-off"
        shown = await world.get(f"/v1/withdrawals/{withdrawal}", user="carl", role="contractor")
        assert (shown["written_off"], shown["estimated_arrival"]) == (3_000, None)
        assert await world.available("carl") == 20_000 - 3_000
        assert (await world.wallet("carl"))["in_transit"] == 0
        assert await world.workflow(withdrawal).result() == "written_off"
        await assert_clean(world)


async def test_nothing_is_written_off_that_can_be_had(servers: Servers) -> None:
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient) as world:
        withdrawal = await short_of(world, 3_000)
        account = (await world.operation(withdrawal))["details"]["stripe_account"]
        await world.sandbox.control("POST", f"accounts/{account}/adjust_balance", amount=3_000)

        assert "30.00 USD" in _refused(await world.help(withdrawal, "write-off"), "evidence-against")

        # Then it is had, by the other verb
        await world.retry(withdrawal, reason="the account has it again")
        assert (await world.closed(withdrawal))["status"] == "reversed"
        assert await world.available("carl") == 20_000
        await assert_clean(world)


async def test_payout_that_nobody_can_see_any_more_is_written_off(world: World) -> None:
    account = await world.onboarded()
    await world.funded("carl", 20_000)
    await world.sandbox.payout_fault("hold")
    withdrawal = await world.accepted_withdrawal(8_000)
    await world.until(withdrawal, lambda now: now["status"] == "paying_out")
    assert "it is in_transit" in _refused(await world.help(withdrawal, "write-off"), "evidence-against")
    await world.sandbox.control("POST", f"accounts/{account}/deauthorize")
    await world.until(withdrawal, lambda now: now["needs_attention"])

    assert (await world.help(withdrawal, "write-off")).status_code == 200

    assert (await world.closed(withdrawal))["status"] == "written_off"
    assert await world.available("carl") == 12_000
    assert (await world.wallet("carl"))["in_transit"] == 0
    await assert_clean(world)


async def test_f46_terminated_after_it_was_written_off(servers: Servers) -> None:
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient) as world:
        withdrawal = await short_of(world, 8_000)
        # Given a saga that was terminated before it could end, and so knows nothing of it any more
        await world.workflow(withdrawal).terminate("an engineer's slip")
        resumed = await world.admin(f"operations/{withdrawal}/resume")
        assert resumed.status_code == 200
        await world.until(withdrawal, lambda now: now["needs_attention"])
        assert (await world.help(withdrawal, "write-off")).status_code == 200
        await world.closed(withdrawal)

        # When it is reset to before that
        first = [event.event_id for event in await world.events_of(withdrawal)][3]
        await _reset(world, withdrawal, first)

        # Then it ends the same again
        assert await world.workflow(withdrawal).result() == "written_off"
        assert len([step for step in (await world.operation(withdrawal))["steps"] if step["step"] == "write_off"]) == 1
        await assert_clean(world)


async def _reset(world: World, withdrawal: str, event_id: int) -> None:
    described = await world.workflow(withdrawal).describe()
    await reset(world, withdrawal, str(described.run_id), event_id)


# ── Approvals ──


async def _from_the_ui(world: World, operation_id: str, verb: str, **wish: Any) -> str:
    """Sent as Temporal's UI sends it; the type of the refusal, or the saga's status."""
    try:
        status = await world.workflow(operation_id).execute_update(verb, {"actor": "olivia", "reason": "a test"} | wish)
    except WorkflowUpdateFailedError as error:
        return str(error.cause.type) if isinstance(error.cause, ApplicationError) else repr(error.cause)
    return str(status)


async def test_nobody_is_believed_in_the_ui_without_an_approval(servers: Servers) -> None:
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient) as world:
        withdrawal = await short_of(world, 8_000)
        another = await world.accepted_deposit()

        # Given approvals of other things, and one that is of no one's making
        wrong = [
            await world.approval(another["id"], "write_off"),
            await world.approval(withdrawal, "compensate"),
            "apr_forged",
        ]
        assert await _from_the_ui(world, withdrawal, "write_off") == "approval-needed"
        for approval in wrong:
            assert await _from_the_ui(world, withdrawal, "write_off", approval=approval) == "approval-refused"
        assert await world.sql("SELECT FROM ledger_transactions WHERE step = 'write_off'") == []

        # When there is one
        approval = await world.approval(withdrawal, "write_off")
        assert await _from_the_ui(world, withdrawal, "write_off", approval=approval) == "reversing"

        # Then it was good for once, and all is kept
        assert (await world.closed(withdrawal))["status"] == "written_off"
        shown = await world.get(f"/v1/admin/approvals/{approval}", user="root", role="admin")
        assert (shown["asked_by"], shown["approved_by"], shown["used_at"] is not None) == ("root", "root", True)
        assert [code for *_, code in await _acts(world, withdrawal)] == [
            "approval-needed",
            *["approval-refused"] * 3,
            None,
        ]
        await assert_clean(world)


async def test_f47_an_approval_is_used_once(servers: Servers) -> None:
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient) as world:
        withdrawal = await short_of(world, 8_000)
        approval = await world.approval(withdrawal, "write_off")

        ends = await asyncio.gather(
            *(_from_the_ui(world, withdrawal, "write_off", approval=approval) for _ in range(3))
        )

        assert sorted(end == "reversing" for end in ends) == [False, False, True]
        assert set(ends) <= {"reversing", "approval-refused", "verb-not-possible", "outcome-unknown"}
        await world.closed(withdrawal)
        assert len(await world.sql("SELECT FROM ledger_transactions WHERE step = 'write_off'")) == 1
        await assert_clean(world)


async def test_above_the_limit_it_takes_two(servers: Servers) -> None:
    patient = BRISK.model_copy(update={"saga_retries": (600.0,)})
    async with open_world(servers, pacing=patient, approval_limits={"usd": 7_999}) as world:
        withdrawal = await short_of(world, 8_000)

        # Given an admin who asks alone, and then for another's approval
        _refused(await world.help(withdrawal, "write-off"), "approval-needed", status=403)
        approval = await world.approval(withdrawal, "write_off")
        _refused(await world.help(withdrawal, "write-off", approval=approval), "approval-refused")
        awaited = await world.get("/v1/admin/approvals", user="oscar", role="admin")
        assert [one["id"] for one in awaited["data"]] == [approval]
        _refused(await world.approve(approval, admin="root"), "approval-refused")

        # When another agrees
        agreed = await world.approve(approval, admin="oscar")
        assert (agreed.status_code, agreed.json()["approved_by"]) == (200, "oscar")
        assert (await world.help(withdrawal, "write-off", approval=approval)).status_code == 200

        assert (await world.closed(withdrawal))["status"] == "written_off"
        await assert_clean(world)


# ── Form ──


@pytest.mark.parametrize(
    ("verb", "wish"),
    [
        ("adopt", {"actor": "olivia", "reason": "x", "step": " ", "stripe_id": "tr_1"}),
        ("adopt", {"actor": "olivia", "reason": "x"}),
        ("compensate", {"actor": " ", "reason": "x"}),
        ("write_off", {"actor": "olivia", "reason": ""}),
        ("write_off", ["olivia"]),
    ],
)
async def test_a_form_that_is_none_does_no_harm(world: World, verb: str, wish: Any) -> None:
    deposit = await world.accepted_deposit()

    with pytest.raises(WorkflowUpdateFailedError):
        await world.workflow(deposit["id"]).execute_update(verb, wish)

    # Then its saga goes on
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.closed(deposit["id"])
    assert await world.sql("SELECT FROM operator_actions") == []
