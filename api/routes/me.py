"""The caller's own profile."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api import problems
from api.auth import AnyCaller
from api.models import Profile
from api.services import Services, services
from db import users
from domain import errors

router = APIRouter(prefix="/me", tags=["profile"])
Held = Annotated[Services, Depends(services)]


@router.get(
    "",
    response_model=Profile,
    summary="Read one's profile",
    responses=problems.described(errors.Unauthenticated, errors.Unavailable),
)
async def read_profile(caller: AnyCaller, held: Held) -> Profile:
    """What we know of the caller; empty until they say."""
    async with held.database.transaction() as connection:
        row = await users.ensure_user(connection, caller.id)
    return Profile.model_validate({name: row[name] for name in Profile.model_fields})


@router.put(
    "",
    response_model=Profile,
    summary="Replace one's profile",
    responses=problems.described(
        errors.MalformedRequest, errors.Unauthenticated, errors.BodyTooLarge, errors.InvalidField, errors.Unavailable
    ),
)
async def replace_profile(profile: Profile, caller: AnyCaller, held: Held) -> Profile:
    """Replace the whole profile: what is left out is forgotten."""
    async with held.database.transaction() as connection:
        await users.update_profile(connection, caller.id, profile.model_dump())
    return profile
