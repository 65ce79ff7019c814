"""Connected accounts: a contractor's account at Stripe, and the way to Stripe's own pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import quote

import sqlalchemy as sa
import stripe
import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from activities import stripe_links
from activities.stripe_errors import error_code
from api import operating, problems, return_urls
from api.auth import AccountOwner, AnyCaller, AnyUserId, Role
from api.idempotency import AskedOnce
from api.models import ConnectedAccount, Link, OnboardingAccount, connected_account_of
from api.requests import ClientRoute
from api.services import Held, Services
from db import acceptance, connected_accounts, operations, users
from domain import errors
from domain.connected_accounts import ConnectedAccount as Account
from domain.operations import OperationKind
from domain.statuses import ConnectedAccountStatus

KIND = OperationKind.CONNECTED_ACCOUNT

WHERE = "/v1/connect/account"

ONE_EACH = "operations_one_connected_account"
"""The index that holds that a user has one account at a time."""

log = structlog.get_logger()
router = APIRouter(prefix="/connect/account", tags=["connected accounts"], route_class=ClientRoute)


class NewAccount(BaseModel):
    """Where Stripe sends the owner back to. Country and e-mail come from the profile."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "return_url": "https://app.example.com/payouts/done",
                    "refresh_url": "https://app.example.com/payouts/again",
                }
            ]
        },
    )

    return_url: str = Field(
        description="Where to come back to from Stripe's form: an absolute URL by https, at one of the marketplace's"
        " hosts (`PAYSAGA_RETURN_HOSTS`)."
    )
    refresh_url: str = Field(
        description="Where a link leads that was used or is too old: a page that asks for a fresh one, and goes there."
    )
    user_id: AnyUserId = Field(
        default=None, description="For a service, which must: whose account. Others leave it out."
    )


class WantedLink(BaseModel):
    """A link to Stripe's form. What is left out is as it was when the account was made."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    return_url: str | None = Field(default=None, description="As for the account, for this link alone.")
    refresh_url: str | None = Field(default=None, description="As for the account, for this link alone.")
    user_id: AnyUserId = Field(default=None, description="For a service, which must: whose account.")


class WantedLogin(BaseModel):
    """A link to the Express dashboard."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    user_id: AnyUserId = Field(default=None, description="For a service, which must: whose account.")


class _Standing(NamedTuple):
    """A user's account: its operation, and what Stripe has said of it, if it has."""

    operation: sa.RowMapping
    account: Account | None


@router.post(
    "",
    status_code=201,
    response_model=OnboardingAccount,
    summary="Make one's connected account",
    response_description="Made: its owner goes on at `onboarding.url`, where Stripe asks who they are.",
    responses=operating.made(
        OnboardingAccount,
        KIND,
        errors.ProfileIncomplete,
        errors.AccountExists,
        errors.ActionRequired,
        errors.PaymentRefused,
    ),
)
async def make_account(caller: AccountOwner, asked: AskedOnce, wanted: NewAccount, held: Held) -> Response:
    """Open an account at Stripe for a contractor, by the country and e-mail of their profile. One at a time.

    Replayed, it is answered with a fresh link to Stripe's form.
    """
    user_id = caller.acts_for(wanted.user_id)

    async def accept(connection: AsyncConnection) -> str:
        urls = {
            name: return_urls.checked(name, getattr(wanted, name), held.settings)
            for name in ("return_url", "refresh_url")
        }
        refused = await _refusal(connection, user_id)
        if refused is None:
            try:
                async with connection.begin_nested():
                    return await acceptance.accept(connection, asked, KIND, user_id, request=urls)
            except IntegrityError as error:
                if ONE_EACH not in str(error.orig):
                    raise
                refused = errors.AccountExists("The user's connected account was made at this moment.")
        return await acceptance.accept(connection, asked, KIND, user_id, request=urls, refused=refused)

    async def show(operation: sa.RowMapping) -> OnboardingAccount:
        account = await _said_of(held, operation)
        shown = connected_account_of(operation, account)
        return OnboardingAccount(**shown.model_dump(), onboarding=await _onboarding(held, operation, shown))

    where = f"{WHERE}?user_id={quote(user_id, safe='')}" if caller.role is Role.SERVICE else WHERE
    return await operating.make(held, asked, accept, show=show, at=lambda _: where)


async def _refusal(connection: AsyncConnection, user_id: str) -> errors.StateRefusal | None:
    user = await users.ensure_user(connection, user_id)
    there = await _of_user(connection, user_id)
    if there is not None and there.operation["closed_at"] is None:
        return errors.AccountExists(f"The user's connected account is {there.operation['id']}.")
    lacking = " and ".join(name for name in ("country", "email") if user[name] is None)
    return errors.ProfileIncomplete(f"The profile has no {lacking}.") if lacking else None


@router.get(
    "",
    response_model=ConnectedAccount,
    summary="Read one's connected account",
    response_description="The account as Stripe last told it.",
    responses=problems.described(errors.NotFound, errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def read_account(caller: AnyCaller, held: Held, user_id: operating.OfUser = None) -> ConnectedAccount:
    """What the account may do, and what Stripe still asks of its owner; admins and services say whose."""
    owner = caller.whose(user_id)
    if owner is None:
        raise errors.InvalidField("user_id", "Say whose account to read.", remedy="Add ?user_id=… to the URL.")
    return connected_account_of(*await _require(held, owner))


@router.post(
    "/link",
    response_model=Link,
    summary="Get a link to Stripe's form",
    response_description="A fresh link, for the account's owner alone.",
    responses=problems.described(
        errors.NoConnectedAccount,
        errors.NotFound,
        errors.Forbidden,
        *problems.OF_ANY_BODY,
        *problems.OF_ANY_CALLER,
    ),
)
async def link_to_onboarding(caller: AccountOwner, held: Held, wanted: WantedLink | None = None) -> Link:
    """Let the owner go on with what Stripe asks, or change what they have said.

    Each request makes a new link and changes nothing else, so no Idempotency-Key is needed. Links are kept nowhere.
    """
    wanted = wanted or WantedLink()
    new = {
        name: return_urls.checked(name, url, held.settings)
        for name, url in (("return_url", wanted.return_url), ("refresh_url", wanted.refresh_url))
        if url is not None
    }
    standing = await _require(held, caller.acts_for(wanted.user_id))
    urls = standing.operation["request"] | new
    async with _asking_stripe():
        return _shown(
            await held.links.onboarding(
                _stripe_account(standing), return_url=urls["return_url"], refresh_url=urls["refresh_url"]
            )
        )


@router.post(
    "/login-link",
    response_model=Link,
    summary="Get a link to the Express dashboard",
    response_description="A fresh link, for the account's owner alone.",
    responses=problems.described(
        errors.AccountNotAble,
        errors.NoConnectedAccount,
        errors.NotFound,
        errors.Forbidden,
        *problems.OF_ANY_BODY,
        *problems.OF_ANY_CALLER,
    ),
)
async def link_to_dashboard(caller: AccountOwner, held: Held, wanted: WantedLogin | None = None) -> Link:
    """Let the owner see their payouts and change their bank. There is no dashboard before they have told who they are.

    Each request makes a new link and changes nothing else, so no Idempotency-Key is needed. Links are kept nowhere.
    """
    standing = await _require(held, caller.acts_for(wanted.user_id if wanted else None))
    async with _asking_stripe():
        try:
            return _shown(await held.links.dashboard(_stripe_account(standing)))
        except stripe.InvalidRequestError as error:
            raise errors.AccountNotAble(
                error.user_message or "Stripe gives no dashboard to this account.",
                remedy="POST /v1/connect/account/link and complete the form it links to; then ask again.",
            ) from error


# ── Whose account, and how it stands ──


async def _of_user(connection: AsyncConnection, user_id: str) -> _Standing | None:
    """The user's account that lives, else the one that was cut off last; not what was refused."""
    said = await connected_accounts.of_user(connection, user_id)
    if said is None or said["deauthorized"]:
        unsaid = [row async for row in _all_of_user(connection, user_id) if row["closed_at"] is None]
        if unsaid:
            return _Standing(unsaid[0], None)
    if said is None:
        return None
    return _Standing(await operations.require(connection, said["operation_id"]), connected_accounts.account_of(said))


async def _all_of_user(connection: AsyncConnection, user_id: str) -> AsyncIterator[sa.RowMapping]:
    before: str | None = None
    while rows := await operations.page(connection, user_id=user_id, kind=KIND, limit=100, before_id=before):
        for row in rows:
            yield row
        before = rows[-1]["id"]


async def _require(held: Services, user_id: str) -> _Standing:
    async with held.database.transaction() as connection:
        found = await _of_user(connection, user_id)
    if found is None:
        raise errors.NotFound("There is no connected account.", remedy=errors.NoConnectedAccount.remedy)
    return found


async def _said_of(held: Services, operation: sa.RowMapping) -> Account | None:
    """What Stripe has said of an account that is written already: so nobody is turned away if Postgres has gone."""
    try:
        async with held.database.transaction() as connection:
            said = await connected_accounts.of_user(connection, operation["user_id"])
    except problems.DATABASE_LOST as error:
        log.warning("account not read", operation_id=operation["id"], error=type(error).__name__)
        return None
    return connected_accounts.account_of(said) if said and said["operation_id"] == operation["id"] else None


# ── Stripe's pages ──


def _stripe_account(standing: _Standing) -> str:
    """Stripe's id of the account, if there is one to go to."""
    shown = connected_account_of(*standing)
    if shown.deauthorized:
        raise _cut_off()
    if shown.stripe_account is None:
        raise _not_now("Stripe has not made the account yet.")
    return shown.stripe_account


async def _onboarding(held: Services, operation: sa.RowMapping, shown: ConnectedAccount) -> Link | None:
    """Fetched each time, and never kept; null if Stripe does not answer."""
    if shown.stripe_account is None or shown.status == ConnectedAccountStatus.DEAUTHORIZED:
        return None
    try:
        return _shown(await held.links.onboarding(shown.stripe_account, **operation["request"]))
    except stripe.StripeError as error:
        log.warning("no onboarding link", operation_id=operation["id"], error=type(error).__name__)
        return None


@asynccontextmanager
async def _asking_stripe() -> AsyncIterator[None]:
    """What Stripe says instead of giving a link, as our own refusals."""
    try:
        yield
    except stripe.StripeError as error:
        param = getattr(error, "param", None)
        if param in ("return_url", "refresh_url"):
            raise errors.InvalidField(param, error.user_message or "Stripe does not take it.") from error
        if error_code(error) == "account_invalid" or param == "account":
            raise _cut_off() from error
        log.warning("no link", error=type(error).__name__)
        raise _not_now("Stripe cannot be asked now.") from error


def _cut_off() -> errors.NoConnectedAccount:
    return errors.NoConnectedAccount("The account is no longer connected to us.")


def _not_now(detail: str) -> errors.Unavailable:
    return errors.Unavailable(detail, remedy="Send the request again after Retry-After seconds; nothing was changed.")


def _shown(link: stripe_links.Link) -> Link:
    return Link(url=link.url, expires_at=link.expires)
