"""The caller's own profile."""

from fastapi import APIRouter

from api import problems
from api.auth import AnyCaller
from api.models import Profile
from api.requests import ClientRoute
from api.services import Held
from db import users

router = APIRouter(prefix="/me", tags=["profile"], route_class=ClientRoute)


@router.get(
    "",
    response_model=Profile,
    summary="Read one's profile",
    response_description="The profile.",
    responses=problems.described(*problems.OF_ANY_CALLER),
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
    response_description="The profile as it is from now on.",
    responses=problems.described(*problems.OF_ANY_BODY, *problems.OF_ANY_CALLER),
)
async def replace_profile(profile: Profile, caller: AnyCaller, held: Held) -> Profile:
    """Replace the whole profile: what is left out is forgotten."""
    async with held.database.transaction() as connection:
        await users.update_profile(connection, caller.id, profile.model_dump())
    return profile
