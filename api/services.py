"""What the routes work with; built once, by the process that starts."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from temporalio.client import Client

from activities.dispatch import SagaDispatcher
from activities.stripe_clock import StripeClock
from activities.stripe_links import StripeLinks
from activities.stripe_reads import StripeReads
from activities.verbs import Verbs
from db.engine import Database
from domain.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """One API process."""

    settings: Settings
    database: Database
    temporal: Client
    dispatcher: SagaDispatcher
    verbs: Verbs
    stripe: StripeReads
    links: StripeLinks
    stripe_clock: StripeClock


def services(request: Request) -> Services:
    """The process's services, for a route."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def _services(request: Request) -> Services:
    return services(request)  # FastAPI takes what is not a coroutine to another thread, for each request.


Held = Annotated[Services, Depends(_services)]
"""The services, as a route's parameter."""
