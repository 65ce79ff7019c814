"""The one way to write to Stripe."""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta

import stripe
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from stripe import RequestOptions, StripeClient

from activities import outcomes
from activities.breakers import Attempt, Breakers, EndpointAway
from activities.stripe_errors import Verdict, answered_in_doubt, error_code, failure, verdict
from activities.stripe_writes import WRITES, Json, Write, metadata
from db import operations, stripe_calls
from db.engine import Database
from db.stripe_calls import Call, Intent, Outcome
from domain.errors import Compensated, OutcomeUnknown
from domain.operations import Failure

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Evidence:
    """An object at Stripe, held against a call that may have made it."""

    stripe_id: str
    result: Json
    """What would be kept of it."""
    against: tuple[str, ...]
    """What speaks against it, a phrase each."""
    is_own: bool
    """Whether it says itself that this very call has made it."""


class StripeCaller:
    """Sends each intent to Stripe once, however often it is asked to.

    `absent_apart`: seconds between the two look-ups that must both find nothing before a call that Stripe answered
    with a 5xx counts as never done.
    """

    def __init__(self, database: Database, client: StripeClient, breakers: Breakers, *, absent_apart: float) -> None:
        self._database = database
        self._client = client
        self._breakers = breakers
        self._absent_apart = absent_apart

    async def call(self, intent: Intent) -> Call:
        """Carry out `intent`, and return it as done or refused.

        Commits twice: the intent before the call and the outcome after it, with nothing held in between. Raises the
        errors of `activities.outcomes`: refused (a compensation has closed the step), parked (the key came with other
        parameters), in doubt, not now; and `WalletFrozen`. While Stripe does not answer it asks nothing: then it is in
        doubt if it was before, else not now.
        """
        write = WRITES[intent.write]
        with self._breakers.attempt(endpoint_of(intent.write)) as attempt:
            call = await self._begin(intent, attempt)
            if call.closed_at is not None:
                raise outcomes.refused(
                    Failure(code=Compensated.code, detail="This step was given up, and what came before it taken back.")
                )
            if call.outcome is None and call.doubted_at is not None:
                call = await self._look_up(call, write, attempt)
            if call.outcome is None:
                return await self._send(call, write, attempt)
        return await self.call(intent) if call.outcome is Outcome.ABSENT else call

    async def ascertain(self, subject: str, step: str) -> Call | None:
        """How a step's newest call ended, looked for at Stripe if that is not recorded; None if there is none.

        Nothing is sent. Raises `OutcomeUnknown`, which says when to ask again, and in doubt if Stripe does not answer.
        """
        async with self._database.transaction() as connection:
            call = await stripe_calls.latest(connection, subject, step)
        if call is None or call.outcome is not None:
            return call
        write = WRITES[call.write]
        found = await self._find(call, write.find(self._client, call))
        if found is not None:
            return await self._done(call, write, found)
        async with self._database.transaction() as connection:
            missed = await stripe_calls.note_absent(connection, call, apart=self._absent_apart, sends=False)
        if missed.outcome is None:
            assert missed.absent_at is not None, "it has just been missed"
            since = missed.absent_at if missed.old else missed.last_sent_at
            raise OutcomeUnknown(
                f"{call.key} was last sent at {missed.last_sent_at:%Y-%m-%d %H:%M:%S %Z}, and Stripe does not have it"
                f" now. That is certain from {since + timedelta(seconds=self._absent_apart):%Y-%m-%d %H:%M:%S %Z} on,"
                " if it is not found then either and not sent again before."
            )
        return missed

    async def look_at(self, call: Call, stripe_id: str) -> Evidence | None:
        """The object of this id, held against a call that somebody says has made it; None if Stripe has no such object.

        What the call has itself made speaks against any other. Raises in doubt if Stripe does not answer.
        """
        write = WRITES[call.write]
        try:
            try:
                found = (await write.fetch(self._client, call, stripe_id)).to_dict()
            except stripe.InvalidRequestError:
                return None
            own = await write.find(self._client, call)
        except stripe.StripeError as error:
            raise outcomes.in_doubt(f"looking at {stripe_id}: {_brief(error)}") from error
        against = write.against(call, found)
        if own is not None and own["id"] != found["id"]:
            against.append(f"{own['id']} is what this very call has made")
        return Evidence(found["id"], write.result(found), tuple(against), is_own=own is not None)

    async def require_quiet(self, connection: AsyncConnection, call: Call) -> None:
        """Let nobody send an open call before this transaction ends.

        Raises `OutcomeUnknown` if it was sent so lately that what it makes may not be there yet.
        """
        if not await stripe_calls.quiet(connection, call, apart=self._absent_apart):
            raise OutcomeUnknown(
                f"{call.key} is known to have been sent last at {call.last_sent_at:%Y-%m-%d %H:%M:%S %Z}. What it"
                f" makes itself may come to light until {self._absent_apart:.0f} seconds after its last sending:"
                " ask again then."
            )

    async def _begin(self, intent: Intent, attempt: Attempt) -> Call:
        """Commit that the intent is sent now; not if it is known how it ended, or if nothing goes out."""
        sent_before = False
        try:
            async with self._database.transaction() as connection:
                call = await stripe_calls.begin(connection, intent)
                sent_before = call.attempts > 0
                if call.outcome is None:
                    # Turned away here, it takes back that it was begun: what was not sent must not count as sent, and
                    # the life of its key not begin.
                    attempt.admit()
                return call
        except EndpointAway as error:
            async with self._database.transaction() as connection:
                await operations.note_started(connection, intent.operation_id)
            raise (outcomes.in_doubt if sent_before else outcomes.not_now)(str(error)) from error

    async def _send(self, call: Call, write: Write, attempt: Attempt) -> Call:
        options: RequestOptions = {"idempotency_key": call.key}
        if call.stripe_account:
            options["stripe_account"] = call.stripe_account
        params = call.params | ({"metadata": metadata(call)} if write.tagged else {})
        try:
            answer = await attempt.ask(lambda: write.send(self._client, params, options))
        except stripe.StripeError as error:
            return await self._answered_by_error(call, error)
        return await self._done(call, write, answer.to_dict())

    async def _answered_by_error(self, call: Call, error: stripe.StripeError) -> Call:
        ruling = verdict(error)
        said = f"{call.write} of {call.subject}: {_brief(error)}"
        log.warning("stripe call not done", key=call.key, verdict=ruling, status=error.http_status)
        if ruling is Verdict.MISUSE:
            raise outcomes.parked(
                Failure(code="idempotency-mismatch", detail=f"{said}: the key was used with other parameters.")
            )
        if ruling is Verdict.WAIT:
            raise outcomes.not_now(said)
        if ruling is Verdict.IN_DOUBT:
            if answered_in_doubt(error):
                async with self._database.transaction() as connection:
                    await stripe_calls.doubt(connection, call)
            raise outcomes.in_doubt(said)
        about = error.error.payment_intent if error.error is not None else None
        stripe_id = about.id if about is not None else None
        async with self._database.transaction() as connection:
            return await stripe_calls.settle(
                connection,
                call,
                Outcome.REFUSED,
                stripe_id=stripe_id,
                result=failure(error, ruling).model_dump(),
                objects=[stripe_id] if stripe_id else [],
            )

    async def _look_up(self, call: Call, write: Write, attempt: Attempt) -> Call:
        """Whether a call in doubt was carried out after all: adopted if so; absent if twice not found.

        Missed for the first time, it comes back open and is sent again with the same key: had Stripe merely failed to
        answer, the key says so, and had it not begun, it begins now. An old one is not sent, since Stripe may have
        forgotten its key: it is looked for once more later.
        """
        found = await self._find(call, attempt.ask(lambda: write.find(self._client, call)))
        if found is not None:
            return await self._done(call, write, found)
        async with self._database.transaction() as connection:
            missed = await stripe_calls.note_absent(connection, call, apart=self._absent_apart)
        if missed.outcome is None and missed.old:
            raise outcomes.in_doubt(
                f"{call.key} was not found, and is too old to be sent again: it is looked for later"
            )
        return missed

    async def _find(self, call: Call, looking: Awaitable[Json | None]) -> Json | None:
        try:
            found = await looking
        except stripe.StripeError as error:
            raise outcomes.in_doubt(f"looking for {call.key}: {_brief(error)}") from error
        if found is not None:
            log.info("adopted", key=call.key, stripe_id=found["id"])
        return found

    async def _done(self, call: Call, write: Write, answer: Json) -> Call:
        async with self._database.transaction() as connection:
            return await stripe_calls.settle(
                connection,
                call,
                Outcome.DONE,
                stripe_id=answer["id"],
                result=write.result(answer),
                objects=[answer["id"]] if call.subject == call.operation_id else [],
            )


def endpoint_of(write: str) -> str:
    """The class of endpoints that a write is sent to: those of one kind of Stripe's objects."""
    return write.partition(".")[0]


def _brief(error: stripe.StripeError) -> str:
    """The error without Stripe's own words: those may quote what was sent."""
    return " ".join(str(part) for part in (type(error).__name__, error.http_status, error_code(error)) if part)
