"""Offers: a customer's money in escrow, until a contractor has earned it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection

from api import forms, operating, pages, problems
from api.auth import AnyCaller, AnyUserId, Buyer, Caller, UserId
from api.idempotency import AskedOnce
from api.models import Offer, offer_of
from api.operating import Wished
from api.requests import ClientRoute
from api.services import Held, Services
from db import acceptance, offers, operations, users
from db.operations import Asked
from domain import errors
from domain.money import Money, currency
from domain.offers import HOUR, LONGEST_WAIT, OfferVerb, OfferWish, Party, refusal
from domain.operations import OperationKind
from domain.settings import Mode
from domain.statuses import OfferStatus

KIND = OperationKind.OFFER

MOST_MILESTONES = 50

BY_STATE = (errors.WalletDeactivated, errors.WalletFrozen, errors.ReceivableOpen, errors.NotWithdrawable)
"""What the state of things may have against an offer, gravest first."""

router = APIRouter(prefix="/offers", tags=["offers"], route_class=ClientRoute)

Job = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A field or query parameter that names a job."""

Wait = Annotated[int | None, Field(description="Seconds, from an hour to 90 days; in development from 1.")]


class NewOffer(BaseModel):
    """What is offered to whom."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "contractor_id": "carl",
                    "amount": 10000,
                    "currency": "usd",
                    "job": "job 4711",
                    "milestones": [4000, 6000],
                    "auto_payout": False,
                }
            ]
        },
    )

    contractor_id: UserId = Field(description="Who is to earn it. Their wallet in this currency is made on first use.")
    amount: forms.Amount = Field(
        description="Minor units: 10000 is 100.00 USD. The platform's fee comes on top; the service fee is the"
        " contractor's. In KWD a multiple of 10."
    )
    currency: forms.Currency
    job: Job | None = Field(
        default=None, description="The marketplace's reference of the job, which offers can be listed by."
    )
    milestones: list[StrictInt] = Field(
        default=[],
        max_length=MOST_MILESTONES,
        description="Parts of the amount that can be released by themselves, in minor units; together at most all of"
        " it. What they leave is released when the offer completes.",
    )
    auto_payout: StrictBool = Field(
        default=False, description="Whether what is released goes on to the contractor's bank by itself."
    )
    accept_within: Wait = Field(default=None, strict=True, description="How long it waits for the contractor.")
    complete_within: Wait = Field(
        default=None, strict=True, description="How long what was delivered waits for the customer's word."
    )
    user_id: AnyUserId = Field(default=None, description="For a service, which must: whose money. Others leave it out.")


class Said(BaseModel):
    """A verb, and perhaps why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    reason: forms.Reason | None = None
    user_id: AnyUserId = Field(default=None, description="For a service, which must: who acts. Others leave it out.")


class Contested(BaseModel):
    """Why the parties disagree."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "half of it is missing"}]})

    reason: forms.Reason
    user_id: AnyUserId = Field(default=None, description="For a service, which must: who acts. Others leave it out.")


class Released(BaseModel):
    """Which part is earned."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"milestone": 1}]})

    milestone: StrictInt = Field(description="Which milestone, from 1.", ge=1, le=MOST_MILESTONES)
    user_id: AnyUserId = Field(default=None, description="For a service, which must: who acts. Others leave it out.")


@router.post(
    "",
    status_code=201,
    response_model=Offer,
    summary="Make an offer",
    response_description="Made: the amount and the platform's fee are in escrow.",
    responses=operating.made(Offer, KIND, *BY_STATE),
)
async def make_offer(caller: Buyer, asked: AskedOnce, wanted: NewOffer, held: Held) -> Response:
    """Put an amount, and the platform's fee on top, into the customer's escrow for one contractor."""
    customer_id = caller.acts_for(wanted.user_id)
    if wanted.contractor_id == customer_id:
        raise errors.InvalidField(
            "contractor_id", "An offer to oneself moves nothing.", remedy="Name another user than the customer."
        )

    async def accept(connection: AsyncConnection) -> str:
        money = forms.money(wanted.amount, wanted.currency, held.settings.offer_bounds, verb="Offer")
        _check_milestones(wanted.milestones, money)
        terms = held.settings.offer_terms
        wallets = {}
        # In one order, whoever makes whom an offer: else two first offers could wait for each other.
        for user_id in sorted((customer_id, wanted.contractor_id)):
            await users.ensure_user(connection, user_id)
            wallets[user_id] = (await users.ensure_wallet(connection, user_id, money.currency))["id"]
        operation_id = await acceptance.accept(
            connection,
            asked,
            KIND,
            customer_id,
            wallet_id=wallets[customer_id],
            money=money,
            request={"to_wallet_id": wallets[wanted.contractor_id]},
        )
        made_under = {
            "operation_id": operation_id,
            "customer_id": customer_id,
            "contractor_id": wanted.contractor_id,
            "contractor_wallet": wallets[wanted.contractor_id],
            "currency": money.currency,
            "job": wanted.job,
            "amount": money.amount,
            "platform_fee": terms.platform_fee.fee(money).amount,
            "platform_fee_returned": terms.platform_fee_returned,
            "service_fee_rate": terms.service_fee.rate(money.currency),
            "milestones": wanted.milestones,
            "auto_payout": wanted.auto_payout,
            "accept_within": _wait(held, "accept_within", wanted.accept_within, terms.accept_within),
            "deliver_within": terms.deliver_within,
            "complete_within": _wait(held, "complete_within", wanted.complete_within, terms.complete_within),
        }
        await offers.insert(connection, made_under)
        return operation_id

    return await operating.make(held, asked, accept, show=offer_of, at=lambda made: f"/v1/offers/{made}")


@router.get(
    "",
    response_model=pages.Page[Offer],
    summary="List offers",
    response_description="A page, newest first.",
    responses=problems.described(errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def list_offers(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    user_id: operating.OfUser = None,
    party: Annotated[
        Literal["customer", "contractor"] | None,
        Query(alias="as", description="Only those in which the user is this party."),
    ] = None,
    status: Annotated[OfferStatus | None, Query(description="Only those in this status.")] = None,
    job: Annotated[Job | None, Query(description="Only those of this job.")] = None,
) -> pages.Page[Offer]:
    """Offers, newest first: those one is a party of, or for admins and services everybody's."""
    user, before = caller.whose(user_id), pages.decode(cursor, str)
    if user is None and party is not None:
        raise errors.InvalidField("as", "Nobody is named who could be that party.", remedy="Name one by user_id.")
    async with held.database.transaction() as connection:
        ids = await offers.page(
            connection,
            customer_id=user if party == "customer" else None,
            contractor_id=user if party == "contractor" else None,
            either_id=user if party is None else None,
            status=status,
            job=job,
            limit=limit + 1,
            before_id=str(before[0]) if before else None,
        )
        shown = ids[:limit]
        rows = await operations.of_ids(connection, shown)
    return pages.Page(
        data=[offer_of(row) for row in rows],
        next_cursor=pages.encode([shown[-1]]) if len(ids) > limit else None,
    )


@router.get(
    "/{offer_id}",
    response_model=Offer,
    summary="Read an offer",
    response_description="The offer.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_offer(offer_id: str, caller: AnyCaller, held: Held) -> Offer:
    """One offer, for its customer and its contractor, with all that was done to it."""
    async with held.database.transaction() as connection:
        return offer_of(await _visible(connection, caller, offer_id, caller.id))


# ── Verbs ──

_VERBS = {
    OfferVerb.ACCEPT: ("Accept an offer", "The contractor's: take the job. The platform's fee is due."),
    OfferVerb.DECLINE: ("Decline an offer", "The contractor's: all goes back to the customer."),
    OfferVerb.CANCEL: (
        "Cancel an offer",
        "The customer's: at once while nobody has accepted it, or when what was accepted is overdue. Else it asks the"
        " contractor to agree, and `cancel_asked` says so.",
    ),
    OfferVerb.AGREE_CANCEL: (
        "Agree to cancel an offer",
        "The contractor's, once the customer has asked: what is in escrow goes back.",
    ),
    OfferVerb.DELIVER: ("Deliver", "The contractor's: the work is done. The customer has a while to answer."),
    OfferVerb.COMPLETE: ("Complete an offer", "The customer's: release all that is left to the contractor."),
}


def _responses(*more: type[errors.PaysagaError]) -> dict[int | str, dict[str, object]]:
    return operating.answered(Offer) | problems.described(
        errors.NotFound, errors.NotTheParty, errors.WrongState, *more, *problems.OF_ANY_POST
    )


def _verb_route(verb: OfferVerb) -> Callable[..., Awaitable[Response]]:
    async def act(offer_id: str, caller: AnyCaller, asked: AskedOnce, held: Held, said: Said | None = None) -> Response:
        said = said or Said()
        return await _act(held, caller, asked, offer_id, verb, user_id=said.user_id, reason=said.reason)

    return act


for _verb, (_summary, _description) in _VERBS.items():
    router.add_api_route(
        f"/{{offer_id}}/{_verb.replace('_', '-')}",
        _verb_route(_verb),
        methods=["POST"],
        name=f"{_verb}_offer",
        response_model=Offer,
        summary=_summary,
        description=_description,
        response_description="The offer as it is from now on.",
        responses=_responses(*((errors.WalletDeactivated,) if _verb is OfferVerb.ACCEPT else ())),
    )


@router.post(
    "/{offer_id}/release",
    response_model=Offer,
    summary="Release a milestone",
    response_description="Released; with the last one the offer is completed.",
    responses=_responses(errors.MilestoneReleased),
)
async def release_milestone(
    offer_id: str, caller: AnyCaller, asked: AskedOnce, wanted: Released, held: Held
) -> Response:
    """The customer's: a part of the amount is earned. The service fee is charged on all that was released so far."""
    return await _act(
        held, caller, asked, offer_id, OfferVerb.RELEASE, user_id=wanted.user_id, milestone=wanted.milestone
    )


@router.post(
    "/{offer_id}/contest",
    response_model=Offer,
    summary="Contest an offer",
    response_description="Nothing moves any more until an operator has decided.",
    responses=_responses(),
)
async def contest_offer(offer_id: str, caller: AnyCaller, asked: AskedOnce, said: Contested, held: Held) -> Response:
    """Either party's: they disagree. All waiting stops until an operator splits what is left."""
    return await _act(held, caller, asked, offer_id, OfferVerb.CONTEST, user_id=said.user_id, reason=said.reason)


async def _act(
    held: Services,
    caller: Caller,
    asked: Asked,
    offer_id: str,
    verb: OfferVerb,
    *,
    user_id: str | None,
    reason: str | None = None,
    milestone: int | None = None,
) -> Response:
    async def find(connection: AsyncConnection) -> Wished:
        actor = caller.acts_for(user_id)
        operation = await _visible(connection, caller, offer_id, actor)
        party = _party(operation, actor)
        if party is None:
            raise errors.NotTheParty(f"{actor} is neither the offer's customer nor its contractor.")
        refusal(verb, party, OfferStatus(operation["status"]))
        return Wished(operation, OfferWish(party=party, milestone=milestone), reason)

    return await operating.ask(held, caller, asked, verb, find, show=offer_of)


async def _visible(connection: AsyncConnection, caller: Caller, offer_id: str, user_id: str) -> sa.RowMapping:
    """The offer's operation. Raises `NotFound` for whoever is no party of it, unless they see everything."""
    operation = await operations.get(connection, offer_id)
    if (
        operation is not None
        and operation["kind"] == KIND
        and (caller.sees_all or _party(operation, user_id) is not None)
    ):
        return operation
    raise errors.NotFound("There is no such offer.")


def _party(operation: sa.RowMapping, user_id: str) -> Party | None:
    if user_id == operation["offer"]["customer_id"]:
        return Party.CUSTOMER
    return Party.CONTRACTOR if user_id == operation["offer"]["contractor_id"] else None


def _check_milestones(milestones: list[int], money: Money) -> None:
    step = currency(money.currency).increment
    for number, part in enumerate(milestones, start=1):
        if part <= 0 or part % step:
            raise errors.InvalidField(
                "milestones", f"Milestone {number} is not a positive multiple of {step} minor units."
            )
    if sum(milestones) > money.amount:
        raise errors.InvalidField(
            "milestones",
            f"The milestones are {sum(milestones)} minor units, and the offer {money.amount}.",
            remedy="Let them add up to at most the amount.",
        )


def _wait(held: Services, field: str, wanted: int | None, usual: float) -> float:
    if wanted is None:
        return usual
    shortest = 1 if held.settings.mode is Mode.DEVELOPMENT else int(HOUR)
    if not shortest <= wanted <= LONGEST_WAIT:
        raise errors.InvalidField(field, f"{wanted} is not between {shortest} and {int(LONGEST_WAIT)} seconds.")
    return wanted
