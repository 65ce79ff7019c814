"""What operators do: to wallets, and for sagas that need help. Each act says why, and is kept with who did it."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.service import RPCError

from activities.dispatch import VerbRefused
from api import forms, operating, problems
from api.auth import Caller, Operator
from api.idempotency import AskedOnce
from api.models import Offer, Operation, Wallet, offer_of, operation_of
from api.operating import Wished
from api.requests import ClientRoute
from api.routes.wallets import shown_wallet
from api.services import Held, Services
from db import operations, users
from db.operations import Asked
from domain import errors
from domain.money import LARGEST
from domain.offers import OfferVerb, OfferWish, Party
from domain.operations import Failure, OperationKind

log = structlog.get_logger()
router = APIRouter(prefix="/admin", tags=["operators"], route_class=ClientRoute)


class Act(BaseModel):
    """Why it is done."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "support case 4711"}]})

    reason: forms.Reason


# ── Wallets ──

_ON_WALLETS = {
    "freeze": ("Freeze a wallet", "Stop what leaves the wallet: a withdrawal whose transfer has not begun goes back."),
    "unfreeze": ("Unfreeze a wallet", "Let money leave the wallet again."),
    "activate": ("Activate a wallet", "Let the wallet take and give money again."),
    "deactivate": (
        "Deactivate a wallet",
        "Let the wallet take and give no more money. What is under way is seen through.",
    ),
}


def _wallet_route(verb: str) -> Callable[..., Awaitable[Response]]:
    async def act(wallet_id: str, caller: Operator, asked: AskedOnce, why: Act, held: Held) -> Response:
        return await _act_on_wallet(held, caller, asked, wallet_id, verb, why.reason)

    return act


for _verb, (_summary, _description) in _ON_WALLETS.items():
    router.add_api_route(
        f"/wallets/{{wallet_id}}/{_verb}",
        _wallet_route(_verb),
        methods=["POST"],
        name=f"{_verb}_wallet",
        response_model=Wallet,
        summary=_summary,
        description=f"{_description} Repeated, it changes nothing more.",
        response_description="The wallet as it is from now on.",
        responses={
            200: {"headers": operating.REPLAYED},
            **problems.described(errors.NotFound, errors.Forbidden, *problems.OF_ANY_POST),
        },
    )


async def _act_on_wallet(
    held: Services, caller: Caller, asked: Asked, wallet_id: str, verb: str, reason: str
) -> Response:
    async with held.database.transaction() as connection:
        # Its lock on the key also keeps two acts with one key on two wallets apart.
        await operations.earlier_request(connection, asked)
        caller.owned(await users.wallet(connection, wallet_id), "wallet")
        await users.locked_wallet(connection, wallet_id)
        earlier = await users.earlier_wallet_action(connection, asked)
        if not earlier:
            await users.act_on_wallet(connection, asked, wallet_id, verb, reason)
        shown = await shown_wallet(connection, await users.locked_wallet(connection, wallet_id))
    return JSONResponse(shown.model_dump(mode="json"), headers=operating.replayed(earlier))


# ── Offers ──


class Resolution(BaseModel):
    """How what is left of a contested offer is split."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"to_contractor": 6000, "to_customer": 4000, "reason": "half was delivered"}]},
    )

    to_contractor: StrictInt = Field(
        ge=0, le=LARGEST, description="Minor units, before the service fee, which is taken from it."
    )
    to_customer: StrictInt = Field(ge=0, le=LARGEST, description="Minor units. Together they are all that is left.")
    reason: forms.Reason


@router.post(
    "/offers/{offer_id}/resolve",
    response_model=Offer,
    summary="Split a contested offer",
    response_description="Split, and over.",
    responses=operating.answered(Offer)
    | problems.described(
        errors.NotFound, errors.Forbidden, errors.WrongState, errors.SplitMismatch, *problems.OF_ANY_POST
    ),
)
async def resolve_offer(offer_id: str, caller: Operator, asked: AskedOnce, wanted: Resolution, held: Held) -> Response:
    """Decide for the parties: what is left in escrow goes to the contractor, less the service fee, and the customer."""

    async def find(connection: AsyncConnection) -> Wished:
        operation = await operating.owned(connection, caller, OperationKind.OFFER, offer_id)
        wish = OfferWish(
            party=Party.OPERATOR,
            actor=caller.id,
            to_contractor=wanted.to_contractor,
            to_customer=wanted.to_customer,
        )
        return Wished(operation, wish, wanted.reason)

    return await operating.ask(held, caller, asked, OfferVerb.RESOLVE, find, show=offer_of)


# ── Sagas ──

_HELPED: dict[int | str, dict[str, Any]] = {
    200: {"headers": operating.REPLAYED},
    **problems.described(errors.NotFound, errors.NotResumable, errors.Forbidden, *problems.OF_ANY_POST),
}


@router.post(
    "/operations/{operation_id}/retry",
    response_model=Operation,
    summary="Let a saga go on at once",
    response_description="Its saga waits no longer.",
    responses=_HELPED
    | {202: {"model": Operation, "description": "Not answered yet: send the request again with the same key."}},
)
async def retry_operation(operation_id: str, caller: Operator, asked: AskedOnce, why: Act, held: Held) -> Response:
    """Do not let the saga wait any longer: it asks Stripe, or tries again, now. The same as its update `retry`."""

    async def retry(action_id: str) -> None:
        await held.verbs.retry(
            operation_id,
            actor=caller.id,
            action_id=action_id,
            reason=why.reason,
            within=held.settings.answer_within,
        )

    return await _help(held, caller, asked, operation_id, "retry", retry)


@router.post(
    "/operations/{operation_id}/resume",
    response_model=Operation,
    summary="Start a terminated saga again",
    response_description="Its saga is at work again.",
    responses=_HELPED,
)
async def resume_operation(operation_id: str, caller: Operator, asked: AskedOnce, why: Act, held: Held) -> Response:
    """Start an open operation's saga again that was terminated or has failed. What was done is not done again."""

    async def resume(action_id: str) -> None:
        await held.verbs.resume(operation_id, actor=caller.id, action_id=action_id, reason=why.reason)

    return await _help(held, caller, asked, operation_id, "resume", resume)


async def _help(
    held: Services,
    caller: Caller,
    asked: Asked,
    operation_id: str,
    verb: str,
    act: Callable[[str], Awaitable[None]],
) -> Response:
    """Do `act`, unless this key has, and keep how that ended.

    It is kept only then: the sweeper, which finds unanswered requests, could not ask again, since it knows no reason.
    The client can, with the same key, which is the same act to whoever does it.
    """
    async with held.database.transaction() as connection:
        caller.owned(await operations.get(connection, operation_id), "operation")
        earlier = await operating.earlier_use(connection, caller, asked)
    refused: Failure | None = None
    if earlier is None:
        try:
            await act(operations.update_id(asked.caller, asked.key))
        except (errors.NotResumable, VerbRefused) as error:
            refused = Failure(code=errors.NotResumable.code, detail=error.detail)
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
