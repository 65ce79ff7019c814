"""Who asks: bearer tokens (JWT), and what each role may see."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import jwt
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.services import Services, services
from domain.errors import Forbidden, NotFound, Unauthenticated
from domain.settings import Settings

ASYMMETRIC = ["RS256", "ES256", "EdDSA"]
"""The algorithms of a configured public key. The token never chooses between this list and a shared secret."""

_scheme = HTTPBearer(auto_error=False, description="A JWT with `sub`, `role`, `iss`, `aud`, `iat` and `exp`.")


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
        role = Role(claims["role"])
    except (jwt.InvalidTokenError, ValueError) as error:
        raise Unauthenticated(f"The token is not valid: {error}") from error
    if not 1 <= len(claims["sub"]) <= 255 or not claims["sub"].isprintable():
        raise Unauthenticated("The token's subject is not 1 to 255 printable characters.")
    return Caller(claims["sub"], role)


async def _caller(request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]) -> Caller:
    held: Services = services(request)
    if bearer is None:
        raise Unauthenticated("The request carries no bearer token.")
    return authenticate(held.settings, bearer.credentials)


AnyCaller = Annotated[Caller, Depends(_caller)]
"""Any authenticated caller."""


async def _payer(caller: AnyCaller) -> Caller:
    if caller.role not in (Role.CUSTOMER, Role.SERVICE):
        raise Forbidden(f"A {caller.role} cannot deposit.", remedy="Ask with a customer's or a service's token.")
    return caller


Payer = Annotated[Caller, Depends(_payer)]
"""A customer, or a service that acts for one."""
