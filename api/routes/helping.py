"""How operators help sagas that need it: `retry`, `resume`, `adopt`, `compensate`, `write-off`, and the approvals that
some of these take.

Each act says why, and is kept with who did it and what they saw; so is each that is refused.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.service import RPCError

from activities.dispatch import VerbRefused
from activities.verbs import RESUME
from api import forms, operating, pages, problems
from api.auth import Caller, Operator
from api.idempotency import AskedOnce
from api.models import Approval, Operation, OperatorAction, operation_of
from api.requests import ClientRoute
from api.services import Held, Services
from db import approvals, operations
from db.operations import Asked
from domain import errors
from domain.operations import Failure
from domain.operators import Act, Adopt, ApprovedAct, OperatorVerb, needs_four_eyes

log = structlog.get_logger()
router = APIRouter(prefix="/admin", tags=["operators"], route_class=ClientRoute)

ApprovalId = Annotated[
    str | None,
    Field(max_length=100, description="The id of an approval of exactly this act; needed above a limit."),
]
StepName = Annotated[str, Field(min_length=1, max_length=100, description="Which step's call to Stripe is in doubt.")]
StripeId = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_]+$", description="What that call has made at Stripe."),
]


class Why(BaseModel):
    """Why it is done."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "support case 4711"}]})

    reason: forms.Reason


class ApprovedWhy(Why):
    """Why it is done, and who has agreed."""

    approval: ApprovalId = None


class AdoptWhat(ApprovedWhy):
    """What is to be adopted, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"step": "create_transfer", "stripe_id": "tr_1SV0aK2eZvKYlo2C", "reason": "support case 4711"}]
        },
    )

    step: StepName
    stripe_id: StripeId


class AskApproval(Why):
    """What is to be done once it is approved, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"verb": "write_off", "reason": "support case 4711"}]}
    )

    verb: Literal[OperatorVerb.ADOPT, OperatorVerb.COMPENSATE, OperatorVerb.WRITE_OFF]
    step: Annotated[StepName | None, Field(description="To adopt: for which step.")] = None
    stripe_id: Annotated[StripeId | None, Field(description="To adopt: which object.")] = None


# ── Verbs ──

_WAITS: dict[int | str, dict[str, Any]] = {
    202: {"model": Operation, "description": "Not answered yet: send the request again with the same key."}
}
_HELPED: dict[int | str, dict[str, Any]] = {
    200: {"headers": operating.REPLAYED},
    **problems.described(errors.NotFound, errors.NotResumable, errors.Forbidden, *problems.OF_ANY_POST),
}
_JUDGED: dict[int | str, dict[str, Any]] = {
    200: {"headers": operating.REPLAYED},
    **problems.described(
        errors.NotFound,
        errors.NotResumable,
        errors.ApprovalNeeded,
        errors.ApprovalRefused,
        errors.VerbNotPossible,
        errors.EvidenceAgainst,
        errors.OutcomeUnknown,
        errors.Forbidden,
        *problems.OF_ANY_POST,
    ),
    **_WAITS,
}


@router.post(
    "/operations/{operation_id}/retry",
    response_model=Operation,
    summary="Let a saga go on at once",
    response_description="Its saga waits no longer.",
    responses=_HELPED | _WAITS,
)
async def retry_operation(operation_id: str, caller: Operator, asked: AskedOnce, why: Why, held: Held) -> Response:
    """Do not let the saga wait any longer: it asks Stripe, or tries again, now. The same as its update `retry`."""
    wish = Act(actor=caller.id, reason=why.reason)
    return await _ask(held, caller, asked, operation_id, OperatorVerb.RETRY, wish)


@router.post(
    "/operations/{operation_id}/resume",
    response_model=Operation,
    summary="Start a terminated saga again",
    response_description="Its saga is at work again.",
    responses=_HELPED,
)
async def resume_operation(operation_id: str, caller: Operator, asked: AskedOnce, why: Why, held: Held) -> Response:
    """Start an open operation's saga again that was terminated or has failed. What was done is not done again."""
    wish = Act(actor=caller.id, reason=why.reason)

    async def resume(action_id: str) -> None:
        await held.verbs.resume(operation_id, wish, action_id=action_id)

    return await _help(held, caller, asked, operation_id, RESUME, wish, resume)


@router.post(
    "/operations/{operation_id}/adopt",
    response_model=Operation,
    summary="Say what a call to Stripe has made",
    response_description="The step goes through with it.",
    responses=_JUDGED,
)
async def adopt_object(operation_id: str, caller: Operator, asked: AskedOnce, what: AdoptWhat, held: Held) -> Response:
    """Take an object at Stripe for what a step's call in doubt has made, where looking for it has not found it. Refused
    unless it is of that kind, amount, currency and destination, and nobody else's."""
    wish = Adopt(actor=caller.id, reason=what.reason, approval=what.approval, step=what.step, stripe_id=what.stripe_id)
    return await _ask(held, caller, asked, operation_id, OperatorVerb.ADOPT, wish)


@router.post(
    "/operations/{operation_id}/compensate",
    response_model=Operation,
    summary="Give an operation up",
    response_description="It is given up: its next movement of money is never made, and what was done is taken back.",
    responses=_JUDGED,
)
async def compensate_operation(
    operation_id: str, caller: Operator, asked: AskedOnce, why: ApprovedWhy, held: Held
) -> Response:
    """Call off a deposit or withdrawal that is stuck, before its point of no return, also at a step that would never
    end. Refused while Stripe may have done what was asked of it last."""
    wish = ApprovedAct(actor=caller.id, reason=why.reason, approval=why.approval)
    return await _ask(held, caller, asked, operation_id, OperatorVerb.COMPENSATE, wish)


@router.post(
    "/operations/{operation_id}/write-off",
    response_model=Operation,
    summary="Give up what cannot be had back",
    response_description="The rest is written off.",
    responses=_JUDGED,
)
async def write_off_rest(
    operation_id: str, caller: Operator, asked: AskedOnce, why: ApprovedWhy, held: Held
) -> Response:
    """End a withdrawal of which Stripe gives no more back, or says no more: the rest is its owner's, on their account.

    Refused while the account holds anything that could be taken back.
    """
    wish = ApprovedAct(actor=caller.id, reason=why.reason, approval=why.approval)
    return await _ask(held, caller, asked, operation_id, OperatorVerb.WRITE_OFF, wish)


@router.get(
    "/operations/{operation_id}/actions",
    response_model=list[OperatorAction],
    summary="List what operators did to an operation",
    response_description="Oldest first, with what was refused.",
    responses=problems.described(errors.NotFound, errors.Forbidden, *problems.OF_ANY_CALLER),
)
async def list_actions(operation_id: str, caller: Operator, held: Held) -> list[OperatorAction]:
    """Who did what, or was refused, why, and what they saw: also of an operation that there never was."""
    async with held.database.transaction() as connection:
        rows = await operations.operator_actions_on(connection, operation_id)
        known = await operations.get(connection, operation_id) is not None
    if not (rows or known):
        raise errors.NotFound("There is no such operation.")
    return [OperatorAction.model_validate(dict(row)) for row in rows]


# ── Approvals ──


@router.post(
    "/operations/{operation_id}/approvals",
    status_code=201,
    response_model=Approval,
    summary="Ask for an approval",
    response_description="Given already, unless it takes another admin's.",
    responses={
        200: {"model": Approval, "description": "Replayed.", "headers": operating.REPLAYED},
        **problems.described(errors.NotFound, errors.Forbidden, *problems.OF_ANY_POST),
    },
)
async def ask_approval(
    operation_id: str, caller: Operator, asked: AskedOnce, wanted: AskApproval, held: Held
) -> Response:
    """For use in Temporal's UI, which does not prove who clicks there; and above a limit, where it takes another
    admin's `approve`. It is good for this one act, once, for 24 hours."""
    async with held.database.transaction() as connection:
        operation = caller.owned(await operations.get(connection, operation_id), "operation")
        earlier = await operating.earlier_use(connection, caller, asked)
        if earlier is None:
            row = await approvals.ask(
                connection,
                operation_id=operation_id,
                verb=wanted.verb,
                what=_about(wanted),
                by=caller.id,
                reason=wanted.reason,
                four_eyes=_takes_two(held, operation),
            )
            await _remember(connection, asked, row, "approval")
        else:
            row = await approvals.require(connection, earlier["wish"]["approval"])
    return _approval(row, 201 if earlier is None else 200, earlier is not None)


@router.post(
    "/approvals/{approval_id}/approve",
    response_model=Approval,
    summary="Agree to what another admin asks for",
    response_description="Approved.",
    responses={
        200: {"headers": operating.REPLAYED},
        **problems.described(errors.NotFound, errors.ApprovalRefused, errors.Forbidden, *problems.OF_ANY_POST),
    },
)
async def approve(approval_id: str, caller: Operator, asked: AskedOnce, why: Why, held: Held) -> Response:
    """Give the second of two approvals. Refused to whoever has asked for it."""
    async with held.database.transaction() as connection:
        earlier = await operating.earlier_use(connection, caller, asked)
        row = await approvals.approve(connection, approval_id, by=caller.id)
        if row is None:
            raise errors.NotFound("There is no such approval.")
        if earlier is None:
            await _remember(connection, asked, row, "approve", reason=why.reason)
    return _approval(row, 200, earlier is not None)


@router.get(
    "/approvals/{approval_id}",
    response_model=Approval,
    summary="Read an approval",
    response_description="As it stands.",
    responses=problems.described(errors.NotFound, errors.Forbidden, *problems.OF_ANY_CALLER),
)
async def read_approval(approval_id: str, caller: Operator, held: Held) -> Approval:
    """What exactly it is for, who asked, who agreed, and whether it was used."""
    async with held.database.transaction() as connection:
        row = await approvals.get(connection, approval_id)
    if row is None:
        raise errors.NotFound("There is no such approval.")
    return Approval.model_validate(dict(row))


@router.get(
    "/approvals",
    response_model=pages.Page[Approval],
    summary="List what awaits an approval",
    response_description="A page, newest first.",
    responses=problems.described(errors.InvalidField, errors.Forbidden, *problems.OF_ANY_CALLER),
)
async def list_awaited(
    caller: Operator, held: Held, limit: pages.Limit = 20, cursor: pages.Cursor = None
) -> pages.Page[Approval]:
    """What admins have asked for that takes another admin."""
    before = pages.decode(cursor, str)
    async with held.database.transaction() as connection:
        rows = await approvals.awaited(connection, limit=limit + 1, before_id=str(before[0]) if before else None)
    shown = rows[:limit]
    return pages.Page(
        data=[Approval.model_validate(dict(row)) for row in shown],
        next_cursor=pages.encode([shown[-1]["id"]]) if len(rows) > limit else None,
    )


# ── What they have in common ──


async def _ask(
    held: Services, caller: Caller, asked: Asked, operation_id: str, verb: OperatorVerb, wish: Act
) -> Response:
    async def ask(action_id: str) -> None:
        approved = wish
        if isinstance(wish, ApprovedAct):
            approved = await _approved(held, caller, operation_id, verb, wish, action_id)
        await held.verbs.help(operation_id, verb, approved, action_id=action_id, within=held.settings.answer_within)

    return await _help(held, caller, asked, operation_id, verb, wish, ask)


async def _approved(
    held: Services, caller: Caller, operation_id: str, verb: OperatorVerb, wish: ApprovedAct, action_id: str
) -> ApprovedAct:
    """The wish with an approval, where the caller's own suffices: here they have proved who they are.

    An act that is asked for again has the approval that it had, used or not: another would be left over.
    """
    if wish.approval is not None:
        return wish
    async with held.database.transaction() as connection:
        # Locked, so that a twin of this request finds the approval that this one makes.
        operation = await operations.locked(connection, operation_id)
        if _takes_two(held, operation):
            return wish
        act = {"operation_id": operation_id, "verb": verb.value, "by": caller.id}
        row = await approvals.at_hand(connection, what=wish.about, action_id=action_id, **act) or await approvals.ask(
            connection, what=wish.about, reason=wish.reason, four_eyes=False, **act
        )
    return wish.model_copy(update={"approval": row["id"]})


async def _help(
    held: Services,
    caller: Caller,
    asked: Asked,
    operation_id: str,
    verb: str,
    wish: Act,
    act: Callable[[str], Awaitable[None]],
) -> Response:
    """Do `act`, unless this key has, and keep how that ended.

    It is kept only then: the sweeper, which finds unanswered requests, could not ask again, since it knows no reason.
    The client can, with the same key, which is the same act to whoever does it.
    """
    action_id = operations.update_id(asked.caller, asked.key)
    async with held.database.transaction() as connection:
        row = await operations.get(connection, operation_id)
        earlier = await operating.earlier_use(connection, caller, asked) if row is not None else None
    if row is None:
        unknown = errors.NotFound("There is no such operation.")
        await held.verbs.keep_refusal(operation_id, verb, wish, action_id, unknown)
        raise unknown
    refused: Failure | None = None
    if earlier is None:
        try:
            await act(action_id)
        except errors.NotResumable as error:
            refused = Failure(code=error.code, detail=error.detail)
        except VerbRefused as error:
            refused = Failure(code=error.code, detail=error.detail)
        except RPCError as error:
            raise errors.Unavailable(f"Temporal cannot be asked now: {error.status.name}.") from error
        except TimeoutError as error:
            log.info("verb not answered yet", operation_id=operation_id, verb=verb, error=str(error))
            return await _shown(held, operation_id, 202, replayed=False)
        async with held.database.transaction() as connection:
            if await operating.earlier_use(connection, caller, asked) is None:
                await operations.remember_request(connection, asked, operation_id, verb=verb)
                kept = refused.model_dump() if refused is not None else None
                await operations.answer_request(connection, asked.caller, asked.key, kept)
    elif earlier["refusal"] is not None:
        refused = Failure.model_validate(earlier["refusal"])
    if refused is not None:
        return operating.refusal(refused.model_dump(), operation_id, operating.replayed(earlier is not None))
    return await _shown(held, operation_id, 200, replayed=earlier is not None)


async def _shown(held: Services, operation_id: str, status: int, *, replayed: bool) -> Response:
    async with held.database.transaction() as connection:
        operation = await operations.require(connection, operation_id)
    return JSONResponse(
        operation_of(operation).model_dump(mode="json"), status_code=status, headers=operating.replayed(replayed)
    )


def _takes_two(held: Services, operation: sa.RowMapping) -> bool:
    return needs_four_eyes(operation["amount"], operation["currency"], held.settings.approval_limits)


def _about(wanted: AskApproval) -> dict[str, str]:
    """What exactly is to be approved. Raises `InvalidField`."""
    named = {name: value for name, value in (("step", wanted.step), ("stripe_id", wanted.stripe_id)) if value}
    if wanted.verb is OperatorVerb.ADOPT and len(named) < 2:
        missing = "stripe_id" if wanted.step else "step"
        raise errors.InvalidField(missing, "To adopt takes a step and an object.", remedy=f"Add the field {missing}.")
    if wanted.verb is not OperatorVerb.ADOPT and named:
        extra = next(iter(named))
        raise errors.InvalidField(extra, f"To {wanted.verb} takes neither.", remedy=f"Leave {extra} out.")
    return named


async def _remember(
    connection: AsyncConnection, asked: Asked, row: sa.RowMapping, verb: str, *, reason: str | None = None
) -> None:
    """Keep the key, with the approval that it asked for or gave; it is answered at once."""
    about = {"approval": row["id"]}
    await operations.remember_request(connection, asked, row["operation_id"], verb=verb, wish=about, reason=reason)
    await operations.answer_request(connection, asked.caller, asked.key, None)


def _approval(row: sa.RowMapping, status: int, replayed: bool) -> Response:
    shown = Approval.model_validate(dict(row)).model_dump(mode="json")
    return JSONResponse(shown, status_code=status, headers=operating.replayed(replayed))
