"""`paysaga demo`: the story ends well, is told as often as one likes, and says what is not as it must be."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from activities.audit import Report
from cli.demo import chapters
from cli.demo.chapters import awaiting_funds, declined_card, escrow, three_d_secure
from cli.demo.command import WIDTH, Demo, Wishes
from cli.demo.ending import Ending, compare
from cli.demo.errors import StoryBroken
from cli.demo.printing import ledger_table
from cli.demo.story import Person
from cli.stack.data import DataDirectory, State
from cli.stack.errors import StackError
from cli.stack.ports import free_port
from cli.stack.processes import started_at
from db.invariants import Invariant
from tests.processes import environment
from tests.world import Servers, World, open_world, until

ALICE = Person("Alice", "alice-1", "")
WALLET = {"id": "wal_1", "user_id": "alice-1", "currency": "usd", "available": 20_000, "escrow": 0, "in_transit": 0}
CREDIT = {
    "step": "credit",
    "entries": [
        {"account": "stripe_balance", "owner": "", "amount": -20_000, "currency": "usd"},
        {"account": "wallet_available", "owner": "wal_1", "amount": 20_000, "currency": "usd"},
    ],
}
DEPOSIT = {
    "id": "dep_1", "kind": "deposit", "status": "succeeded", "amount": 20_000, "details": {}, "postings": [CREDIT]
}  # fmt: skip
BOOKINGS = {"dep_1": [("credit", {"stripe_balance": -20_000, "wallet_available": 20_000})]}
BALANCES = {(ALICE, "usd"): 20_000}


# ── On a stack of its own ──


class Command:
    """One `paysaga demo` as a process, with a directory for temporary files of its own."""

    def __init__(self, folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "cli.main")) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        # A database and a Stripe account that are no concern of the story's.
        elsewhere = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "STRIPE_SECRET_KEY": "sk_live_real"}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-P", *program, "demo", *arguments],
                env={**os.environ, **elsewhere, "TMPDIR": str(self.temporary)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.parts: dict[int, str] = {}
        """Pid and start of every part that was ever seen."""

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def until(self, reached: Callable[[], bool]) -> None:
        """Waits; notes meanwhile which parts there are."""
        deadline = time.monotonic() + 200
        while not reached():
            assert time.monotonic() < deadline, self.out + self.err
            for file in self.temporary.glob("*/data/run/*.pid"):
                try:
                    identity = json.loads(file.read_text())
                except FileNotFoundError:
                    continue
                self.parts[identity["pid"]] = identity["started"]
            time.sleep(0.05)

    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def alive(self) -> set[int]:
        """The parts that still run."""
        return {pid for pid, started in self.parts.items() if started_at(pid) == started}


def start(folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "cli.main")) -> Iterator[Command]:
    """A command that is ended with the test, whatever the test has left."""
    command = Command(folder, *arguments, program=program)
    yield command
    if not command.ended():
        command.process.terminate()
        command.process.wait(30)
    for pid in command.alive:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """The demo as most people see it first."""
    yield from start(tmp_path, "--json")


def ended(operation: dict[str, Any]) -> tuple[str, str, list[str]]:
    """Whose it is, how it ended, and its last two steps."""
    return operation["name"], operation["status"], [step["step"] for step in operation["steps"]][-2:]


@pytest.mark.long
def test_the_story_ends_well_and_leaves_nothing_behind(command: Command) -> None:
    command.until(command.ended)

    assert command.process.returncode == 0, command.err
    assert len(command.parts) == 5
    assert command.alive == set()
    assert list(command.temporary.iterdir()) == []
    told = json.loads(command.out)
    assert told["ok"] is True
    assert told["seconds"] < 120
    assert [(wallet["name"], wallet["available"], wallet["in_transit"]) for wallet in told["balances"]] == [
        ("Alice", 9_300, 0),
        ("Bob", 0, 0),
        ("Carol", 5_000, 0),
        ("Dora", 0, 0),
        ("Erin", 0, 0),
        ("Fay", 4_000, 0),
        ("Gus", 3_000, 0),
        ("Hana", 0, 0),
        ("Ivan", 0, 0),
        ("Jane", 8_000, 0),
        ("Kim", 8_000, 0),
        ("Lena", 50, 0),
        ("Max", 0, 0),
        ("Nils", 0, 0),
        ("Olga", 0, 0),
        ("Pete", 3_200, 0),
        ("Quinn", 4_800, 0),
    ]
    assert [ended(operation) for operation in told["operations"] if operation["kind"] == "deposit"] == [
        ("Alice", "succeeded", ["credit", "stripe_fee"]),
        ("Bob", "failed", ["create_payment_intent", "cancel_payment_intent"]),
        ("Carol", "succeeded", ["credit", "stripe_fee"]),
        ("Dora", "succeeded", ["credit", "stripe_fee"]),
        ("Hana", "succeeded", ["credit", "stripe_fee"]),
        ("Kim", "succeeded", ["credit", "stripe_fee"]),
        ("Lena", "succeeded", ["credit", "stripe_fee"]),
    ]
    assert [ended(operation) for operation in told["operations"] if operation["kind"] == "withdrawal"] == [
        ("Erin", "paid", ["payout", "paid"]),
        ("Fay", "reversed", ["reversal#1", "restore#1"]),
        ("Gus", "reversed", ["reversal#1", "restore#1"]),
        ("Ivan", "paid", ["payout", "paid"]),
        ("Jane", "canceled", ["create_transfer", "restore"]),
        *[("Max", "paid", ["payout", "paid"])] * 4,
    ]
    assert [ended(operation) for operation in told["operations"] if operation["kind"] == "offer"] == [
        ("Lena", "completed", ["accept_fee", "release#1"]),
        ("Lena", "completed", ["release#2", "release#3"]),
        ("Alice", "expired", ["hold", "return"]),
        ("Alice", "completed", ["accept_fee", "release#1"]),
        ("Alice", "declined", ["hold", "return"]),
        ("Alice", "resolved", ["release#1", "return"]),
    ]
    assert {operation["name"] for operation in told["operations"] if operation["closed_at"] is None} == {
        *("Erin", "Fay", "Gus", "Ivan", "Jane", "Max")
    }, "accounts live on, and what is paid is watched"
    assert told["audit"]["total"] == 0
    assert len(told["chapters"]) == 10
    assert all(chapter["seconds"] > 0 and chapter["said"] for chapter in told["chapters"])
    ui = told["links"]["temporal_ui"]
    first = told["operations"][0]["id"]
    assert told["links"]["operations"][first] == f"{ui}/namespaces/paysaga/workflows/{first}"
    assert told["links"]["kinds"] == {
        kind: f"{ui}/namespaces/paysaga/workflows?query=PaysagaKind%3D%22{kind}%22"
        for kind in ("connected_account", "deposit", "offer", "wallet_transfer", "withdrawal")
    }
    assert "Chapter 10 of 10" in command.err


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A demo without chapters, which is soon told, and whose stack runs on."""
    soon = "from cli import main; from cli.demo import chapters; chapters.ALL = (); main.main()"
    yield from start(tmp_path_factory.mktemp("kept"), "--keep", "--json", program=("-c", soon))


@pytest.fixture
def starting(tmp_path: Path, kept: Command) -> Iterator[Command]:
    """A demo that has only just begun, as another one has."""
    yield from start(tmp_path)


@pytest.mark.long
def test_ctrl_c_while_the_stack_starts(starting: Command) -> None:
    starting.until(lambda: bool(starting.parts))

    starting.process.send_signal(signal.SIGINT)
    starting.until(starting.ended)

    assert starting.process.returncode == 130
    assert starting.out.endswith("Ended before the story had.\n")
    assert starting.err == ""
    assert starting.alive == set()
    assert list(starting.temporary.iterdir()) == []


@pytest.mark.long
def test_keep_lets_the_stack_run_until_ctrl_c(kept: Command) -> None:
    kept.until(lambda: "The stack runs until Ctrl-C" in kept.err or kept.ended())
    assert httpx.get(f"{json.loads(kept.out)['stack']['api']}/readyz").is_success

    kept.process.send_signal(signal.SIGINT)
    kept.until(kept.ended)

    assert kept.process.returncode == 0, kept.err
    assert len(kept.parts) == 5
    assert kept.alive == set()
    assert list(kept.temporary.iterdir()) == []


# ── On a stack that runs ──


@contextmanager
def stack_of(world: World, path: Path) -> Iterator[Path]:
    """A directory such as `paysaga up` keeps while it runs, of this world."""
    ports = {
        "api": world.settings.api_port,
        "temporal": int(world.settings.temporal_address.rpartition(":")[2]),
        "sandbox": int(world.sandbox.url.rpartition(":")[2]),
        "ui": free_port(),
    }
    directory = DataDirectory(path)
    directory.open()
    directory.save(State(ports=ports))
    variables = environment(world.settings)
    ours = ("DATABASE_", "PAYSAGA_", "STRIPE_", "TEMPORAL_")
    directory.save_environment({name: value for name, value in variables.items() if name.startswith(ours)})
    yield directory.path
    directory.close()


@pytest.fixture
def stack(world: World, tmp_path: Path) -> Iterator[Path]:
    """That of the test's world."""
    with stack_of(world, tmp_path / "data") as path:
        yield path


async def told(data: Path) -> tuple[int, str]:
    """The exit code and what was printed."""
    printed = io.StringIO()
    code = await Demo(Wishes(data=data), Console(file=printed, width=WIDTH)).run()
    return code, printed.getvalue()


@pytest.mark.long
async def test_ctrl_c_then_again_on_a_stack_that_runs_on(world: World, stack: Path) -> None:
    telling = asyncio.create_task(told(stack))

    async def webhooks_are_lost() -> bool:
        return bool((await world.sandbox.control("GET", "event_faults"))["faults"])

    await until(webhooks_are_lost)
    os.kill(os.getpid(), signal.SIGINT)
    code, printed = await telling

    assert code == 130
    assert printed.endswith("Ended before the story had.\n")
    assert (await world.sandbox.control("GET", "event_faults"))["faults"] == []

    # When the platform has funds of other days, too, and it is told to its end
    await world.sandbox.control("POST", "adjust_balance", amount=10_000)
    code, printed = await told(stack)

    # Then it has its own people, of whom two withdraw more than is there: by hand, 3 times 80.00 where it is 165.35
    assert code == 0, printed
    [alices] = await world.sql("SELECT count(*) FROM users WHERE user_id LIKE 'alice-%'")
    assert alices["count"] == 2
    waited = await world.sql(
        "SELECT status, amount FROM operations WHERE kind = 'withdrawal' AND amount > 8000 ORDER BY id DESC"
    )
    assert [tuple(row) for row in waited] == [("canceled", 24_000), ("paid", 24_000)]
    assert (await world.sandbox.control("GET", "event_faults"))["faults"] == []


async def test_funds_that_no_withdrawal_exhausts(world: World, stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chapters, "ALL", (awaiting_funds,))
    await world.sandbox.control("POST", "adjust_balance", amount=1_000_000)

    code, printed = await told(stack)

    assert code == 0, printed
    assert "But here the platform has 10000.00 USD available at Stripe: nobody needs to wait." in printed


async def test_writes_that_are_only_promised_at_first(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters, "ALL", (three_d_secure, declined_card, escrow))

    async with open_world(servers, answer_within=0.2) as world:
        await world.sandbox.fault("POST", "/v1/payment_intents", "server_error", times=2)
        with stack_of(world, tmp_path / "data") as path:
            code, printed = await told(path)

    assert code == 0, printed


async def test_balances_that_are_not_as_computed_by_hand(
    world: World, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters, "ALL", (three_d_secure,))
    # Given somebody else's balance that was changed, and a Stripe that takes a cent more
    await world.accepted_deposit(5_000, payment_method="pm_card_visa")
    await world.sql("UPDATE ledger_balances SET balance = balance + 1")
    await world.sandbox.control("POST", "settings", fee_fixed=31)

    code, printed = await told(stack)

    assert code == 1
    assert [line for line in printed.splitlines() if line.startswith("✗")] == [
        "✗ what the ledger holds of Alice's deposit: expected [('credit', {'stripe_balance': -20000,"
        " 'wallet_available': 20000}), ('stripe_fee', {'stripe_balance': 610, 'stripe_fees': -610})],"
        " found [('credit', {'stripe_balance': -20000, 'wallet_available': 20000}),"
        " ('stripe_fee', {'stripe_balance': 611, 'stripe_fees': -611})]"
    ]
    assert "audit: 1 violation\n" in printed
    assert "✓" not in printed


async def test_an_answer_that_leaves_the_story_no_way_on(stack: Path) -> None:
    directory = DataDirectory(stack)
    directory.save_environment(
        directory.load_environment() | {"PAYSAGA_JWT_SECRET": "that the API does not verify with"}
    )

    with pytest.raises(StoryBroken, match=r"^The API answered POST /v1/deposits with 401, which the story did not"):
        await told(stack)


async def test_places_where_it_cannot_be_told(
    world: World, stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(data: Path | None) -> str:
        with pytest.raises(StackError) as refusal:
            await Demo(Wishes(data=data), Console(file=io.StringIO())).run()
        return str(refusal.value)

    nowhere = tmp_path / "nowhere"
    assert await refused(nowhere) == (
        f"No stack runs on {nowhere}: start one with `paysaga up --data {nowhere}`, or leave --data out and the demo"
        " starts its own."
    )
    assert not nowhere.exists()

    directory = DataDirectory(stack)
    ordinary = directory.load_environment()
    directory.save_environment(ordinary | {"STRIPE_API_BASE": "https://api.stripe.com"})
    assert "uses https://api.stripe.com: start one without STRIPE_SECRET_KEY" in await refused(stack)

    directory.save_environment({name: ordinary[name] for name in ordinary if name != "PAYSAGA_JWT_SECRET"})
    assert "The demo makes up users and their tokens" in await refused(stack)

    state = directory.load()
    directory.save_environment(ordinary)
    directory.save(state.model_copy(update={"ports": state.ports | {"api": free_port()}}))
    assert await refused(stack) == f"The stack on {stack} is not ready: wait until `paysaga up` says so."

    monkeypatch.setenv("PAYSAGA_MODE", "live")
    assert await refused(None) == "The demo makes up its users, and PAYSAGA_MODE is live: unset it for the demo."


# ── Comparing and showing ──


def test_what_is_as_declared_is_met() -> None:
    compared = compare(BOOKINGS, BALANCES, [(ALICE, DEPOSIT)], [(ALICE, WALLET)])

    assert len(compared) == 2
    assert all(expectation.met for expectation in compared)


@pytest.mark.parametrize(
    "tampered",
    [
        {"available": 19_999},
        {"available": 20_001},
        {"escrow": 1},
        {"in_transit": -1},
        {"currency": "eur"},
    ],
)
def test_a_wallet_that_holds_something_else(tampered: dict[str, Any]) -> None:
    compared = compare(BOOKINGS, BALANCES, [(ALICE, DEPOSIT)], [(ALICE, WALLET | tampered)])

    assert not all(expectation.met for expectation in compared)


@pytest.mark.parametrize("postings", [[], [CREDIT, CREDIT], [CREDIT | {"step": "other"}]])
def test_an_operation_that_booked_something_else(postings: list[Any]) -> None:
    [booked, wallet] = compare(BOOKINGS, BALANCES, [(ALICE, DEPOSIT | {"postings": postings})], [(ALICE, WALLET)])

    assert not booked.met
    assert wallet.met


def test_an_account_of_somebody_else_has_their_name() -> None:
    """So that money in the wrong person's wallet does not pass for the right one's."""
    erin = Person("Erin", "erin-1", "")
    entries = [
        {"account": "wallet_available", "owner": "wal_1", "amount": -8_000, "currency": "usd"},
        {"account": "wallet_available", "owner": "wal_2", "amount": 8_000, "currency": "usd"},
    ]
    transfer = DEPOSIT | {"kind": "wallet_transfer", "postings": [{"step": "move", "entries": entries}]}
    declared = {"dep_1": [("move", {"wallet_available": -8_000, "wallet_available (Erin)": 8_000})]}

    for owner, met in ((erin, True), (ALICE, False)):
        wallets = [(ALICE, WALLET), (owner, WALLET | {"id": "wal_2"})]
        [moved, *_] = compare(declared, {}, [(ALICE, transfer)], wallets)
        assert moved.what == "what the ledger holds of Alice's wallet transfer"
        assert moved.met is met


def test_what_no_chapter_has_declared_is_not_met() -> None:
    assert [expectation.met for expectation in compare({}, {}, [(ALICE, DEPOSIT)], [(ALICE, WALLET)])] == [False, False]
    assert [expectation.met for expectation in compare({}, BALANCES, [], [])] == [False]


@pytest.mark.parametrize(
    ("available", "violations", "well"), [(20_000, 0, True), (20_001, 0, False), (20_000, 1, False)]
)
def test_all_is_well_only_if_everything_is(available: int, violations: int, well: bool) -> None:
    counts = dict.fromkeys(Invariant, 0) | {Invariant.WRONG_BALANCE: violations}
    ending = Ending(
        chapters=[],
        operations=[(ALICE, DEPOSIT)],
        wallets=[(ALICE, WALLET)],
        expectations=compare(BOOKINGS, {(ALICE, "usd"): available}, [(ALICE, DEPOSIT)], [(ALICE, WALLET)]),
        audit=Report(at=datetime.now(UTC), counts=counts, violations=(), solvency=()),
        seconds=1.0,
    )

    assert ending.well is well


def test_the_ledger_as_a_table() -> None:
    yen = {
        "step": "credit",
        "entries": [
            {"account": "stripe_balance", "owner": "", "amount": -5_000, "currency": "jpy"},
            {"account": "wallet_available", "owner": "wal_else", "amount": 5_000, "currency": "jpy"},
        ],
    }
    at_stripe = {
        "step": "transfer",
        "entries": [
            {"account": "stripe_balance", "owner": "", "amount": 80, "currency": "usd"},
            {"account": "connected_balance", "owner": "acct_1", "amount": -80, "currency": "usd"},
        ],
    }
    operations = [
        (ALICE, DEPOSIT),
        (ALICE, DEPOSIT | {"postings": [yen]}),
        (ALICE, DEPOSIT | {"status": "failed", "postings": []}),
        (ALICE, DEPOSIT | {"kind": "connected_account", "amount": None, "postings": []}),
        (
            ALICE,
            DEPOSIT | {"kind": "wallet_transfer", "details": {"stripe_account": "acct_1"}, "postings": [at_stripe]},
        ),
    ]
    printed = io.StringIO()

    Console(file=printed, width=WIDTH).print(ledger_table(operations, [(ALICE, WALLET)]))

    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in printed.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert rows == [
        ["Alice's deposit", "", "", ""],
        ["credit", "stripe_balance", "200.00 USD", ""],
        ["", "wallet_available (Alice)", "", "200.00 USD"],
        ["Alice's deposit", "", "", ""],
        ["credit", "stripe_balance", "5000 JPY", ""],
        ["", "wallet_available (wal_else)", "", "5000 JPY"],
        ["Alice's deposit", "", "", ""],
        ["failed", "nothing booked", "", ""],
        ["Alice's wallet transfer", "", "", ""],
        ["transfer", "stripe_balance", "", "0.80 USD"],
        ["", "connected_balance (Alice)", "0.80 USD", ""],
        ["", "sum", "5000 JPY", "5000 JPY"],
        ["", "sum", "200.80 USD", "200.80 USD"],
    ]
