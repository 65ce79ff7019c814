"""What operators do to wallets, and decide of offers. Each act says why, and is kept with who did it."""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy.ext.asyncio import AsyncConnection

from api import forms, operating, problems
from api.auth import Caller, Operator
from api.idempotency import AskedOnce
from api.models import Offer, Wallet, offer_of
from api.operating import Wished
from api.requests import ClientRoute
from api.routes.wallets import shown_wallet
from api.services import Held, Services
from db import operations, users
from db.operations import Asked
from domain import errors
from domain.money import LARGEST
from domain.offers import OfferVerb, OfferWish, Party
from domain.operations import OperationKind

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
