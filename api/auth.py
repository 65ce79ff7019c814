"""Who asks: bearer tokens (JWT), and what each role may see."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import jwt
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from pydantic import AfterValidator

from api.services import Services, services
from domain.errors import Forbidden, InvalidField, NotFound, Unauthenticated
from domain.settings import Settings

ASYMMETRIC = ["RS256", "ES256", "EdDSA"]
"""The algorithms of a configured public key. The token never chooses between this list and a shared secret."""

_scheme = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="A JWT with `sub` (the user), `role` (customer, contractor, admin or service), `iss`, `aud`, `iat` and"
    " `exp`. No token, or one that proves nothing, is answered 401.",
)


class Role(StrEnum):
    """What a token's bearer is to the marketplace."""

    CUSTOMER = "customer"
    """Pays in and spends."""
    CONTRACTOR = "contractor"
    """Earns and withdraws."""
    ADMIN = "admin"
    """Sees everything."""
    SERVICE = "service"
    """The marketplace's own backend, acting for any user."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `id` is the token's subject: the marketplace's id of the user, or the name of a service."""

    id: str
    role: Role

    @property
    def sees_all(self) -> bool:
        """Whether other people's things exist for this caller."""
        return self.role in (Role.ADMIN, Role.SERVICE)

    def owned(self, row: sa.RowMapping | None, what: str) -> sa.RowMapping:
        """`row`, if it exists for this caller. Raises `NotFound`, which does not tell whether it exists for others."""
        if row is None or not (self.sees_all or row["user_id"] == self.id):
            raise NotFound(f"There is no such {what}.")
        return row

    def acts_for(self, user_id: str | None) -> str:
        """Whose what is asked for is to be: one's own, or that of whom a service names. Raises `InvalidField`."""
        if self.role is Role.SERVICE:
            if user_id is None:
                raise InvalidField("user_id", "A service must say whose it is.", remedy="Add the field user_id.")
            return user_id
        if user_id not in (None, self.id):
            raise InvalidField("user_id", "Only a service may name a user.", remedy="Leave user_id out.")
        return self.id

    def whose(self, user_id: str | None) -> str | None:
        """Whose things to list, if `user_id` is asked for; None for everybody's. Raises `InvalidField`."""
        if self.sees_all:
            return user_id
        if user_id not in (None, self.id):
            raise InvalidField("user_id", "Only an admin or a service may name a user.", remedy="Leave user_id out.")
        return self.id


def authenticate(settings: Settings, token: str) -> Caller:
    """Whoever `token` proves. Raises `Unauthenticated`."""
    key, algorithms = settings.jwt_public_key, ASYMMETRIC
    if settings.jwt_secret is not None:
        key, algorithms = settings.jwt_secret.get_secret_value(), ["HS256"]
    if key is None:
        raise Unauthenticated("No key to verify tokens with is configured.")
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            options={"require": ["sub", "role", "iss", "aud", "iat", "exp"]},
        )
    except jwt.InvalidTokenError as error:
        raise Unauthenticated(f"The token is not valid: {error}.") from error
    if claims["role"] not in list(Role):
        raise Unauthenticated(f"The token's role is none of {', '.join(Role)}.")
    if not is_user_id(claims["sub"]):
        raise Unauthenticated("The token's subject is not 1 to 255 printable characters.")
    return Caller(claims["sub"], Role(claims["role"]))


def is_user_id(text: str) -> bool:
    """Whether `text` can be the marketplace's id of a user."""
    return 1 <= len(text) <= 255 and text.isprintable()


def _user_id(text: str) -> str:
    if not is_user_id(text):
        raise ValueError("a user's id is 1 to 255 printable characters")
    return text


UserId = Annotated[str, AfterValidator(_user_id)]
"""A field that names a user."""

AnyUserId = UserId | None
"""A field or query parameter that names a user, or nobody."""


async def identify(request: Request) -> Caller:
    """Whoever the request's token proves. Raises `Unauthenticated`."""
    held: Services = services(request)
    bearer = await _scheme(request)
    if bearer is None:
        raise Unauthenticated("The request carries no bearer token.")
    return authenticate(held.settings, bearer.credentials)


async def _caller(request: Request, _: Annotated[object, Depends(_scheme)]) -> Caller:
    found = request.state.caller  # The route has identified them before anything else was read.
    assert isinstance(found, Caller)
    return found


AnyCaller = Annotated[Caller, Depends(_caller)]
"""Any authenticated caller."""


def _only(verb: str, *roles: Role) -> Any:
    """The caller, if of one of `roles`; to be told by `verb` otherwise what they cannot do."""

    async def allowed(caller: AnyCaller) -> Caller:
        if caller.role not in roles:
            raise Forbidden(f"A caller of role {caller.role} cannot {verb}.")
        return caller

    return Depends(allowed)


Payer = Annotated[Caller, _only("deposit", Role.CUSTOMER, Role.SERVICE)]
"""A customer, or a service that acts for one."""

Buyer = Annotated[Caller, _only("make an offer", Role.CUSTOMER, Role.SERVICE)]
"""A customer, or a service that acts for one."""

Earner = Annotated[Caller, _only("withdraw", Role.CONTRACTOR, Role.SERVICE)]
"""A contractor, or a service that acts for one."""

AccountOwner = Annotated[Caller, _only("act for a connected account", Role.CONTRACTOR, Role.SERVICE)]
"""The same, where it is about their account at Stripe."""

Marketplace = Annotated[Caller, _only("move money between wallets", Role.SERVICE)]
"""The marketplace's own backend."""

Operator = Annotated[Caller, _only("act as an operator", Role.ADMIN)]
"""An admin."""
