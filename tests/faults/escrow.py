"""Offers in Postgres alone: the activities as a worker runs them, without a saga that lets verbs take turns."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg

from activities.offer_ledger import OfferAct, OfferLedger, OfferState
from db import offers
from domain.money import Money
from domain.offers import OfferTerms, OfferVerb, OfferWish, Party
from domain.operations import OperationKind, OperationRef
from domain.settings import DEFAULT_WITHDRAWAL_BOUNDS
from tests.db.books import Books, Copy
from tests.world import Servers, until

Result = TypeVar("Result")


class Escrow:
    """Makes offers in one database, and does verbs to them. `superuser` sees and changes what no application may."""

    def __init__(
        self,
        books: Books,
        superuser: "asyncpg.Connection[asyncpg.Record]",
        locker: "asyncpg.Connection[asyncpg.Record]",
    ) -> None:
        self.books = books
        self.superuser = superuser
        self._locker = locker
        self.ledger = OfferLedger(books.database, payout_bounds=DEFAULT_WITHDRAWAL_BOUNDS, earnings_hold=0)

    @classmethod
    @asynccontextmanager
    async def opened(cls, servers: Servers) -> AsyncIterator["Escrow"]:
        """In a database of its own."""
        async with Copy.made_for(servers) as copy, copy.opened() as books:
            superuser, locker = [await asyncpg.connect(books.superuser_url) for _ in range(2)]
            try:
                yield cls(books, superuser, locker)
            finally:
                await superuser.close()
                await locker.close()

    async def offer(
        self, money: Money, *, customer: str, contractor: str, terms: OfferTerms | None = None, **values: Any
    ) -> str:
        """An offer that is held, of a customer who has enough; its id."""
        made_under = terms or OfferTerms()
        fee = made_under.platform_fee.fee(money).amount
        taker = await self.books.wallet(contractor, money.currency)
        offer_id = await self.books.operation(
            customer,
            money.currency,
            kind=OperationKind.OFFER,
            amount=money.amount,
            request={"to_wallet_id": taker},
        )
        row = {
            "operation_id": offer_id,
            "customer_id": customer,
            "contractor_id": contractor,
            "contractor_wallet": taker,
            "currency": money.currency,
            "amount": money.amount,
            "platform_fee": fee,
            "platform_fee_returned": made_under.platform_fee_returned,
            "service_fee_rate": made_under.service_fee.rate(money.currency),
            "milestones": [],
            "auto_payout": False,
            "accept_within": made_under.accept_within,
            "deliver_within": made_under.deliver_within,
            "complete_within": made_under.complete_within,
        }
        async with self.books.database.transaction() as connection:
            await offers.insert(connection, row | values)
        await self.ledger.hold(OperationRef(operation_id=offer_id))
        return offer_id

    async def state(self, offer_id: str) -> OfferState:
        """How an offer stands."""
        return await self.ledger.hold(OperationRef(operation_id=offer_id))

    async def act(
        self, offer_id: str, verb: OfferVerb, party: Party, *, action_id: str | None = None, **wish: Any
    ) -> OfferState:
        """One verb, as a fresh request or as one of before."""
        said = OfferWish(party=party, actor="root" if party is Party.OPERATOR else None, **wish)
        return await self.ledger.act(
            OfferAct(operation_id=offer_id, action_id=action_id or str(uuid.uuid4()), verb=verb, wish=said)
        )

    async def skip(self, by: timedelta) -> None:
        """Let time pass."""
        await self.superuser.execute("UPDATE deployment SET clock_offset = clock_offset + $1", by)

    async def all_at_once(self, offer_id: str, works: Iterable[Callable[[], Any]]) -> list[Any]:
        """The results or errors of all of `works`, none of which begins to look before all have come to look."""
        lock = self._locker.transaction()
        await lock.start()
        await self._locker.execute("SELECT FROM operations WHERE id = $1 FOR UPDATE", offer_id)
        going = [asyncio.ensure_future(work()) for work in works]

        async def all_wait() -> bool:
            waiting = await self.superuser.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(waiting == len(going))

        try:
            await until(all_wait)
        finally:
            await lock.rollback()
        return list(await asyncio.gather(*going, return_exceptions=True))
