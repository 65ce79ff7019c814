"""A client's verb on an operation (`cancel`), from the accepted request to its answer.

The request is written before the saga is asked, so that whoever finds it unanswered (the client again, or the sweeper)
can ask on; the update id makes that one request to the saga.
"""

import structlog

from activities.dispatch import NoSaga, SagaDispatcher, VerbRefused
from db import operations
from db.engine import Database
from domain.operations import Failure
from domain.statuses import CANCELED, is_terminal, status_of, too_late_to_cancel

log = structlog.get_logger()


class Verbs:
    """Asks sagas for verbs and keeps their answers."""

    def __init__(self, database: Database, dispatcher: SagaDispatcher) -> None:
        self._database = database
        self._dispatcher = dispatcher

    async def ask(self, *, caller: str, key: str, operation_id: str, verb: str, within: float) -> bool:
        """Ask for the verb of the stored request (caller, key). False if it is not answered after `within` seconds."""
        refusal: Failure | None = None
        try:
            await self._dispatcher.verb(operation_id, verb, update_id=operations.update_id(caller, key), within=within)
        except VerbRefused as error:
            refusal = Failure(code=error.code, detail=error.detail)
        except TimeoutError as error:
            log.info("verb not answered yet", operation_id=operation_id, verb=verb, error=str(error))
            return False
        except NoSaga:
            async with self._database.transaction() as connection:
                operation = await operations.require(connection, operation_id)
            status = status_of(operation["kind"], operation["status"])
            if not is_terminal(status):
                log.info("verb waits for its saga", operation_id=operation_id, verb=verb)
                return False
            if status != CANCELED:
                refusal = too_late_to_cancel(status)
        async with self._database.transaction() as connection:
            await operations.answer_request(
                connection, caller, key, refusal.model_dump() if refusal is not None else None
            )
        return True
