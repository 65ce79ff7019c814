"""The evidence, once everything is quiet: asked of the API, of Stripe, of Postgres, of Temporal, and of the audit."""

from collections import Counter
from collections.abc import AsyncIterator, Collection

from temporalio.client import Client, WorkflowExecution, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from cli.audit import look
from cli.chaos.evidence import Json, Operations, StripeBooks, Workflow
from cli.chaos.outside import Outside
from cli.chaos.scene import OPERATOR, Scene
from domain.settings import Settings
from worker.main import WORKFLOWS
from worker.sandboxing import RUNNER

_OWN_AFFAIRS = ("Sweep", "SnapshotBalances", "CatchUp")
"""Workflows that no operation is behind. One may fail while something is away; the next one does what it did not."""


async def operations_of(scene: Scene) -> Operations:
    """Every operation there is, as the API shows it."""
    return Operations(
        deposits=await _listed(scene, "deposits"),
        transfers=await _listed(scene, "wallet-transfers"),
        offers=await _listed(scene, "offers"),
        withdrawals=await _listed(scene, "withdrawals"),
        accounts=await _listed(scene, "operations?kind=connected_account"),
    )


async def wallets_of(scene: Scene, operations: Operations) -> list[Json]:
    """Every wallet of everybody who is named in an operation."""
    users = {operation[name] for operation in operations.all.values() for name in _PARTIES if name in operation}
    return [wallet for user in sorted(users) for wallet in await scene.read(OPERATOR, f"/v1/wallets?user_id={user}")]


_PARTIES = ("user_id", "to_user_id", "contractor_id")


async def _listed(scene: Scene, path: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    query = f"{path}{'&' if '?' in path else '?'}limit=100"
    cursor = ""
    while True:
        page = await scene.read(OPERATOR, f"/v1/{query}{cursor}")
        found |= {each["id"]: each for each in page["data"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def stripe_books(outside: Outside) -> StripeBooks:
    """What Stripe has, in its own words."""
    accounts = [each async for each in outside.all("accounts")]
    payouts = [payout for account in accounts async for payout in outside.all("payouts", account["id"])]
    balance: Counter[str] = Counter()
    held = await outside.get("balance")
    for amount in (*held["available"], *held["pending"]):
        balance[amount["currency"]] += amount["amount"]
    fees: Counter[str] = Counter()
    async for transaction in outside.all("balance_transactions"):
        fees[transaction["currency"]] += transaction["fee"]
    return StripeBooks(
        payment_intents=[each async for each in outside.all("payment_intents")],
        transfers=[each async for each in outside.all("transfers")],
        payouts=payouts,
        accounts=accounts,
        customers=[each async for each in outside.all("customers")],
        balance=balance,
        fees=fees,
        violations=(await outside.control("GET", "check"))["violations"],
    )


async def audit_rows(settings: Settings) -> list[str]:
    """What `paysaga audit` prints."""
    report = await look(settings)
    return [f"{row.invariant}: {row.where}: {row.what}" for row in report.violations]


async def on_their_way(outside: Outside) -> int:
    """How many webhooks Stripe still means to send."""
    deliveries = (await outside.control("GET", "deliveries"))["deliveries"]
    return sum(delivery["state"] == "pending" for delivery in deliveries)


async def running_alone(client: Client, open_operations: Collection[str]) -> list[str]:
    """Sagas and follow-ups that run although their operation is not open."""
    return [
        f"workflow {execution.id} runs"
        async for execution in client.list_workflows("ExecutionStatus = 'Running'")
        if execution.workflow_type not in _OWN_AFFAIRS and execution.id not in open_operations
    ]


async def workflows_of(client: Client) -> list[Workflow]:
    """Every saga's newest run."""
    newest: dict[str, WorkflowExecution] = {}
    async for execution in client.list_workflows(""):
        there = newest.get(execution.id)
        if execution.workflow_type not in _OWN_AFFAIRS and (there is None or there.start_time < execution.start_time):
            newest[execution.id] = execution
    return [
        Workflow(execution.id, execution.status.name.lower() if execution.status else "unknown")
        for execution in newest.values()
    ]


async def replay(client: Client) -> tuple[int, list[str]]:
    """How many histories were replayed, by the worker's own workflows, and which failed."""
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=RUNNER,
        data_converter=pydantic_data_converter,
        namespace=client.namespace,
    )
    count, failures = 0, []
    histories: AsyncIterator[WorkflowHistory] = client.list_workflows("").map_histories()
    async with replayer.workflow_replay_iterator(histories) as results:
        async for result in results:
            count += 1
            if result.replay_failure is not None:
                failures.append(f"{result.history.workflow_id}: {result.replay_failure}")
    return count, failures
