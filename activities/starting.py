"""Starting an operation that another one has inserted."""

from temporalio import activity

from activities.dispatch import SagaDispatcher
from db import operations
from db.engine import Database
from domain.operations import OperationRef


class StartActivities:
    """May be repeated: a saga runs once, and what has not been started is found by the sweep."""

    def __init__(self, database: Database, dispatcher: SagaDispatcher) -> None:
        self._database = database
        self._dispatcher = dispatcher

    @activity.defn
    async def start_operation(self, ref: OperationRef) -> None:
        """Start the operation's saga, unless it is over."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
        if operation["closed_at"] is None:
            await self._dispatcher.start(operation)
