"""Approvals, and the verbs by which operators help: form, roles, and what is answered. What they do: tests/faults."""

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest

from domain.ids import new_id
from tests.api.test_bad_input import names, problem
from tests.world import World, until

pytestmark = pytest.mark.long

VERBS = ("adopt", "compensate", "write-off")
OBJECT = {"step": "create_transfer", "stripe_id": "tr_1"}


def _body(verb: str, **more: Any) -> dict[str, Any]:
    return {"reason": "a test", **(OBJECT if verb == "adopt" else {}), **more}


async def _post(world: World, path: str, body: dict[str, Any], *, role: str = "admin", key: str | None = None) -> Any:
    return await world.call("POST", f"/v1/admin/{path}", body, user="root", role=role, key=key)


async def _kept(world: World, operation_id: str) -> list[tuple[Any, ...]]:
    """The approvals of acts on an operation, and the acts."""
    asked = "SELECT asked_by, approved_by, used_by FROM approvals WHERE operation_id = $1"
    done = "SELECT verb, actor, action_id FROM operator_actions WHERE operation_id = $1"
    return [tuple(row) for query in (asked, done) for row in await world.sql(query, operation_id)]


async def test_an_unknown_operation_is_refused_and_that_is_kept(world: World) -> None:
    unknown = new_id("wd")
    for verb in (*VERBS, "retry", "resume"):
        problem(await _post(world, f"operations/{unknown}/{verb}", _body(verb)), 404, "not-found")

    kept = await world.get(f"/v1/admin/operations/{unknown}/actions", user="root", role="admin")
    assert [(one["verb"], one["actor"], one["refusal"]["code"], one["seen"]) for one in kept] == [
        (verb, "root", "not-found", {}) for verb in ("adopt", "compensate", "write_off", "retry", "resume")
    ]
    problem(
        await _post(world, f"operations/{unknown}/approvals", {"verb": "compensate", "reason": "x"}), 404, "not-found"
    )
    problem(
        await world.call("GET", f"/v1/admin/operations/{new_id('wd')}/actions", user="root", role="admin"),
        404,
        "not-found",
    )


async def test_bad_form(world: World) -> None:
    deposit = (await world.accepted_deposit())["id"]
    for verb in VERBS:
        path = f"operations/{deposit}/{verb}"
        names(await _post(world, path, _body(verb, reason=" ")), "reason")
        names(await _post(world, path, _body(verb, actor="somebody")), "actor")
        names(await _post(world, path, _body(verb, approval=7)), "approval")
        names(await _post(world, path, _body(verb, approval="x" * 101)), "approval")
    for stripe_id in ("", "tr 1", "tr_1/../x", "x" * 256, None):
        names(await _post(world, f"operations/{deposit}/adopt", _body("adopt", stripe_id=stripe_id)), "stripe_id")
    names(await _post(world, f"operations/{deposit}/adopt", {"reason": "x", "stripe_id": "tr_1"}), "step")

    asking = f"operations/{deposit}/approvals"
    names(await _post(world, asking, {"verb": "retry", "reason": "x"}), "verb")
    names(await _post(world, asking, {"verb": "adopt", "reason": "x", "step": "create_transfer"}), "stripe_id")
    names(await _post(world, asking, {"verb": "adopt", "reason": "x", "stripe_id": "tr_1"}), "step")
    names(await _post(world, asking, {"verb": "write_off", "reason": "x", "step": "create_transfer"}), "step")
    assert await _kept(world, deposit) == []


@pytest.mark.parametrize("role", ["customer", "contractor", "service"])
async def test_only_admins_help(world: World, role: str) -> None:
    deposit = (await world.accepted_deposit())["id"]
    for path, body in (
        *((f"operations/{deposit}/{verb}", _body(verb)) for verb in VERBS),
        (f"operations/{deposit}/approvals", {"verb": "compensate", "reason": "x"}),
        ("approvals/apr_x/approve", {"reason": "x"}),
    ):
        problem(await _post(world, path, body, role=role), 403, "forbidden")
    for path in (f"operations/{deposit}/actions", "approvals", "approvals/apr_x"):
        problem(await world.call("GET", f"/v1/admin/{path}", user="root", role=role), 403, "forbidden")
    assert await _kept(world, deposit) == []


async def test_approval_is_asked_for_once(world: World) -> None:
    deposit = (await world.accepted_deposit())["id"]
    key = str(uuid.uuid4())
    body = {"verb": "compensate", "reason": "x"}

    answers = [await _post(world, f"operations/{deposit}/approvals", body, key=key) for _ in "ab"]

    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    # Below the limit, whoever asks has given it.
    shown = answers[0].json()
    assert (shown["asked_by"], shown["approved_by"], shown["four_eyes"], shown["used_at"]) == (
        "root",
        "root",
        False,
        None,
    )
    other = await _post(world, f"operations/{deposit}/approvals", body | {"reason": "y"}, key=key)
    problem(other, 422, "idempotency-key-reused")
    problem(await _post(world, "approvals/apr_none/approve", {"reason": "x"}), 404, "not-found")
    problem(await world.call("GET", "/v1/admin/approvals/apr_none", user="root", role="admin"), 404, "not-found")


async def test_compensated_deposit(world: World) -> None:
    """Below the limit an admin's own word suffices; the same key is the same act."""
    made = await world.accepted_deposit()
    deposit, key = made["id"], str(uuid.uuid4())

    answers = [await _post(world, f"operations/{deposit}/compensate", {"reason": "x"}, key=key) for _ in "ab"]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    assert (await world.closed(deposit))["status"] == "canceled"
    assert (await world.sandbox.get(f"payment_intents/{made['payment_intent']}"))["status"] == "canceled"
    [(asked_by, approved_by, used_by), (verb, actor, action_id)] = await _kept(world, deposit)
    assert (asked_by, approved_by, used_by) == ("root", "root", action_id)
    assert (verb, actor) == ("compensate", "root")


async def _waiting(world: World, connections: int) -> bool:
    [found] = await world.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(found["count"] == connections)


async def test_one_act_asked_for_by_twins_has_one_approval(world: World) -> None:
    deposit, key = (await world.accepted_deposit())["id"], str(uuid.uuid4())
    path = f"operations/{deposit}/compensate"

    # Nobody can make an approval until each of them has looked whether there is one.
    holder = await asyncpg.connect(world.superuser_url)
    await holder.execute("BEGIN; LOCK TABLE approvals IN SHARE MODE")
    twins = asyncio.gather(*(_post(world, path, {"reason": "x"}, key=key) for _ in "ab"))
    await until(lambda: _waiting(world, 2))
    await holder.close()
    await twins

    assert (await world.closed(deposit))["status"] == "canceled"
    [(_, _, used_by), (verb, _, action_id)] = await _kept(world, deposit)
    assert (used_by, verb) == (action_id, "compensate")


async def test_paid_deposit_is_not_compensated(world: World) -> None:
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")
    await world.until(deposit["id"], lambda now: now["status"] == "succeeded")

    refused = await _post(world, f"operations/{deposit['id']}/compensate", {"reason": "x"})

    assert refused.status_code == 409
    assert refused.json()["type"].rpartition("/")[2] in ("verb-not-possible", "not-resumable")
