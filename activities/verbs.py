"""A verb on an operation, a client's (`cancel`, an offer's `accept`) or an operator's, from the request to its answer.

A client's request is written before the saga is asked, so that whoever finds it unanswered (the client again, or the
sweeper) can ask on; the update id makes that one request to the saga.
"""

import sqlalchemy as sa
import structlog

from activities.dispatch import NoSaga, SagaDispatcher, VerbRefused
from db import offers, operations
from db.engine import Database
from domain.errors import NotResumable, PaysagaError
from domain.offers import OfferVerb, OfferWish
from domain.offers import refusal as offer_refusal
from domain.operations import Failure, followup_id
from domain.operators import Act, OperatorVerb
from domain.statuses import CANCELED, OfferStatus, Status, is_terminal, status_of, too_late_to_cancel

RESUME = "resume"
"""The one operator's verb that no saga is asked for: there is none."""

log = structlog.get_logger()


class Verbs:
    """Asks sagas for verbs and keeps their answers."""

    def __init__(self, database: Database, dispatcher: SagaDispatcher) -> None:
        self._database = database
        self._dispatcher = dispatcher

    async def ask(self, request: sa.RowMapping, *, within: float) -> bool:
        """Ask for the verb of a stored request. False if it is not answered after `within` seconds."""
        operation_id, verb = request["operation_id"], request["verb"]
        update_id = operations.update_id(request["caller"], request["key"])
        refusal: Failure | None = None
        try:
            await self._dispatcher.verb(operation_id, verb, update_id=update_id, within=within, wish=request["wish"])
        except VerbRefused as error:
            refusal = Failure(code=error.code, detail=error.detail)
        except TimeoutError as error:
            log.info("verb not answered yet", operation_id=operation_id, verb=verb, error=str(error))
            return False
        except NoSaga:
            async with self._database.transaction() as connection:
                operation = await operations.require(connection, operation_id)
                done = await offers.acted(connection, operation_id, update_id)
            status = status_of(operation["kind"], operation["status"])
            if not is_terminal(status):
                log.info("verb waits for its saga", operation_id=operation_id, verb=verb)
                return False
            if not done:
                refusal = _over(status, request)
        async with self._database.transaction() as connection:
            await operations.answer_request(
                connection, request["caller"], request["key"], refusal.model_dump() if refusal is not None else None
            )
        return True

    async def help(self, operation_id: str, verb: OperatorVerb, wish: Act, *, action_id: str, within: float) -> None:
        """Ask the operation's saga, or its follow-up, for an operator's verb. It keeps who asked, and why.

        Raises `VerbRefused`; `NotResumable` if no saga is running, which is kept as well; and `TimeoutError` if it has
        not answered `within` seconds: asking again with the same `action_id` is safe.
        """
        told = wish.model_dump(mode="json", exclude_none=True)
        for workflow_id in (operation_id, followup_id(operation_id)):
            try:
                await self._dispatcher.verb(workflow_id, verb, update_id=action_id, within=within, wish=told)
            except NoSaga:
                continue
            return
        error = NotResumable("No saga of the operation is running.")
        await self.keep_refusal(operation_id, verb, wish, action_id, error)
        raise error

    async def keep_refusal(self, operation_id: str, verb: str, wish: Act, action_id: str, error: PaysagaError) -> None:
        """Keep that an operator was refused before any saga was asked."""
        async with self._database.transaction() as connection:
            await operations.record_operator_action(
                connection,
                operation_id,
                action_id,
                verb=verb,
                actor=wish.actor,
                reason=wish.reason,
                refusal=Failure(code=error.code, detail=error.detail),
            )

    async def resume(self, operation_id: str, wish: Act, *, action_id: str) -> None:
        """Start the saga of an open operation again, after it was terminated or has failed.

        Who asked, and why, is kept before. Raises `NotResumable` if the operation is over or its saga is running,
        unless this very act has resumed it; `IdempotencyKeyReused`; and `RPCError` if Temporal is away: ask again then.
        """
        async with self._database.transaction() as connection:
            operation = await operations.locked(connection, operation_id)
            if operation["closed_at"] is None:
                is_new = await operations.record_operator_action(
                    connection, operation_id, action_id, verb=RESUME, actor=wish.actor, reason=wish.reason
                )
        if operation["closed_at"] is not None:
            error = NotResumable(f"The operation is over: {operation['status']}.")
            await self.keep_refusal(operation_id, RESUME, wish, action_id, error)
            raise error
        if not await self._dispatcher.resume(operation) and is_new:
            raise NotResumable("The operation's saga is running.")


def _over(status: Status, request: sa.RowMapping) -> Failure | None:
    """What a verb is answered that came after the operation's end."""
    if isinstance(status, OfferStatus):
        wish = OfferWish.model_validate(request["wish"])
        against = offer_refusal(OfferVerb(request["verb"]), wish.party, status)
        assert against is not None, "no verb is left to an offer that is over"
        return Failure(code=against.code, detail=against.detail)
    return None if status == CANCELED else too_late_to_cancel(status)
