"""The whole stack under one process: what starts when, who is told what, and how it ends.

    Postgres, Temporal, Stripe sandbox                 at once; when all are ready:
    migrations, search attributes, webhook endpoints   at once; when all are done:
    workers, APIs                                      at once

They end one after the other in the reverse order: first the APIs, whose last requests still want a worker. A part that
ends by itself is started again; only `stop` ends it for good.
"""

import asyncio
import importlib
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

from temporalio.client import Client

from cli.settings import settings_from
from cli.stack.data import DataDirectory, State
from cli.stack.options import PAYSAGA, StackOptions
from cli.stack.parts import Part, called
from cli.stack.ports import PortClaims, choose_ports
from cli.stack.postgres import FAST_THEN_IMMEDIATE, SERVICE, Postgres
from cli.stack.processes import Child
from cli.stack.programs import Program, Ready, answers_http, polls_temporal
from cli.stack.reporter import Reporter
from cli.stack.temporal import NAMESPACE, TemporalServer
from cli.stack.webhooks import register
from domain.settings import Mode, Settings

_OF_SETTINGS = ("PAYSAGA_", "DATABASE_", "STRIPE_", "TEMPORAL_")


class Stack:
    """`async with Stack(StackOptions(data=…)) as stack:` runs everything and ends it.

    Entering raises `StackError`, with nothing left running. The addresses are known once it has been entered.
    """

    def __init__(self, options: StackOptions, reporter: Reporter | None = None) -> None:
        self.options = options
        self.reporter = reporter or Reporter()
        self._data = DataDirectory(options.data)
        self._surroundings = options.surroundings()
        self._state = State()
        self._claims = PortClaims()
        self.parts: list[Part] = []
        """In the order of their starting."""
        self._postgres: Postgres | None = None
        self._temporal: TemporalServer | None = None
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts every part in order; returns when all are ready. Raises `StackError`, with nothing left running."""
        began = time.monotonic()
        self._data.open()
        try:
            await self._end_orphans()
            self._client = None
            self._state = self._data.load()
            # What the stack itself sets cannot be wrong; the rest is looked at before anything starts.
            settings_from({"DATABASE_URL": "", "STRIPE_SECRET_KEY": self._state.stripe_key, **self._surroundings})
            self._state.ports = choose_ports(
                self.options.ports, self._state.ports, self._claims.take, apis=self.options.apis
            )
            self._data.save(self._state)
            # What prepares them imports nearly everything of ours: half a second that passes while they start.
            preparation = asyncio.to_thread(importlib.import_module, "cli.stack.preparation")
            await _all(self._start_all(self._around()), preparation)
            await self._prepare()
            self._data.save_environment(self._to_remember())
            if self.options.api_and_worker:
                await self._start_all(self._inner())
        except BaseException:
            await self.stop()
            raise
        self.reporter.all_ready(time.monotonic() - began)

    async def stop(self) -> None:
        """Ends every part, in the reverse order."""
        await asyncio.gather(*(part.unwatch() for part in self.parts))
        while self.parts:
            await self.parts[-1].stop()
            self.parts.pop()
        self._claims.release()
        self._data.close()

    def delete(self) -> None:
        """Deletes Postgres's files, wherever they are. The stack must have ended; the rest of `data` stays."""
        if self._postgres is not None:
            self._postgres.delete()

    def kill(self) -> None:
        """SIGKILL for every part, at once."""
        for part in self.parts:
            part.kill_now()

    def part(self, name: str, index: int = 0) -> Part:
        """`postgres`, `temporal`, `sandbox`, `api` or `worker`. Raises `KeyError` when the stack runs no such part."""
        for part in self.parts:
            if (part.name, part.index) == (name, index):
                return part
        raise KeyError(f"{name} {index}")

    # Addresses and secrets

    @property
    def api_url(self) -> str:
        """The first API's."""
        return self.api_urls[0]

    @property
    def api_urls(self) -> list[str]:
        return [self._local(called("api", index)) for index in range(self.options.apis)]

    @property
    def database_url(self) -> str:
        """The login that the API and the worker use."""
        return self._postgres.service_url if self._postgres else self._surroundings["DATABASE_URL"]

    @property
    def owner_database_url(self) -> str:
        """The login that migrates."""
        return self._postgres.owner_url if self._postgres else self._surroundings["DATABASE_URL"]

    @property
    def superuser_database_url(self) -> str | None:
        """None for a Postgres that is not ours."""
        return self._postgres.superuser_url if self._postgres else None

    @property
    def temporal_address(self) -> str:
        return self._temporal.address if self._temporal else self._surroundings["TEMPORAL_ADDRESS"]

    @property
    def temporal_namespace(self) -> str:
        return self.settings.temporal_namespace

    @property
    def ui_url(self) -> str | None:
        """None for a Temporal that is not ours."""
        return self._temporal.ui_url if self._temporal else None

    @property
    def sandbox_url(self) -> str | None:
        """None when the stack talks to Stripe."""
        return None if "STRIPE_SECRET_KEY" in self._surroundings else self._local("sandbox")

    @property
    def stripe_secret_key(self) -> str:
        return self._surroundings.get("STRIPE_SECRET_KEY", self._state.stripe_key)

    @property
    def jwt_secret(self) -> str | None:
        """The key of development tokens; None in the other modes."""
        secret = self.settings.jwt_secret
        return secret.get_secret_value() if secret else None

    @property
    def environment(self) -> dict[str, str]:
        """All variables that are the stack's, with the addresses at which its parts listen."""
        return {**self._surroundings, **self._ours()}

    def environment_of(self, part: str) -> dict[str, str]:
        """The variables that every `api` or `worker` is started with; further APIs have another port."""
        variables = self.environment
        for name, service, ours in (
            ("DATABASE_URL", "postgres", self._postgres is not None),
            ("TEMPORAL_ADDRESS", "temporal", self._temporal is not None),
            ("STRIPE_API_BASE", "sandbox", self.sandbox_url is not None),
        ):
            if ours:
                variables[name] = self.routed(part, service, variables[name])
        return variables

    def routed(self, part: str, service: str, address: str) -> str:
        """The address of a service of ours, as the part is told it."""
        port = urlsplit(address if "//" in address else f"//{address}").port
        assert port is not None, "our own services listen on ports that we chose"
        return address.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.options.route(part, service, port)}")

    @property
    def settings(self) -> Settings:
        """What the API and the worker read from their environment. Raises `BadSettings`."""
        return settings_from(self.environment)

    def _local(self, name: str) -> str:
        return f"http://127.0.0.1:{self._state.ports[name]}"

    def _to_remember(self) -> dict[str, str]:
        """What other commands on this data directory may read: all settings, but no secret of a live deployment."""
        mode = self.settings.mode
        if mode is Mode.LIVE:
            return {"PAYSAGA_MODE": mode}
        return {name: value for name, value in self.environment.items() if name.startswith(_OF_SETTINGS)}

    def _ours(self) -> dict[str, str]:
        """The variables that this stack decides, and the extra ones it was given."""
        variables = {
            **self.options.environment,
            "DATABASE_URL": self.database_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "STRIPE_SECRET_KEY": self.stripe_secret_key,
            "PAYSAGA_API_PORT": str(self._state.ports["api"]),
        }
        if self._temporal:
            variables["TEMPORAL_NAMESPACE"] = NAMESPACE
        if self.sandbox_url:
            variables["STRIPE_API_BASE"] = self.sandbox_url
            for kind, name in (
                ("platform", "STRIPE_WEBHOOK_SECRETS"),
                ("connect", "STRIPE_CONNECT_WEBHOOK_SECRETS"),
            ):
                endpoints = [self._state.endpoints.get(called(kind, index)) for index in range(self.options.apis)]
                if known := [endpoint.secret for endpoint in endpoints if endpoint]:
                    variables[name] = ",".join(known)
        if self._surroundings.get("PAYSAGA_MODE", Mode.DEVELOPMENT) == Mode.DEVELOPMENT:
            variables["PAYSAGA_JWT_SECRET"] = self._surroundings.get("PAYSAGA_JWT_SECRET") or self._state.jwt_secret
        return variables

    # Starting

    async def _end_orphans(self) -> None:
        """Ends what a killed run on this directory left, before its ports are looked at: users of a service first."""
        left = sorted(file.stem for file in self._data.pid_files.glob("*.pid"))
        for kind in ("worker", "api", "sandbox", "temporal", "postgres"):
            # That run may have had more workers and APIs than this one.
            for name in (name for name in left if name.partition("-")[0] == kind):
                if await self._child(name).end_orphan():
                    self.reporter.note(f"Ended the {name} that an earlier run had left.")

    def _child(self, name: str) -> Child:
        log, pid_file = self._data.logs / f"{name}.log", self._data.pid_files / f"{name}.pid"
        if name == "postgres":
            return Child(name, log=log, pid_file=pid_file, ladder=FAST_THEN_IMMEDIATE)
        return Child(name, log=log, pid_file=pid_file)

    async def _start_all(self, parts: Sequence[Part]) -> None:
        self.parts += parts
        await _all(*(part.start() for part in parts))

    def _around(self) -> list[Part]:
        """The services that the API and the worker use, as far as they are ours."""
        ports, parts = self._state.ports, []
        if "DATABASE_URL" not in self._surroundings:
            folder = self._data.path / "postgres"
            self._postgres = Postgres(
                folder,
                child=self._child("postgres"),
                port=ports["postgres"],
                fsync=self.options.fsync,
                temporary=self.options.temporary,
            )
            where = f"postgresql://127.0.0.1:{ports['postgres']}/paysaga"
            parts.append(Part("postgres", self._postgres, self.reporter, where=where))
        else:
            url = urlsplit(self._surroundings["DATABASE_URL"])
            self.reporter.note(f"Using Postgres at {url.hostname}:{url.port or 5432}.")
        if "TEMPORAL_ADDRESS" not in self._surroundings:
            self._temporal = TemporalServer(
                self._data.folder("temporal"),
                child=self._child("temporal"),
                port=ports["temporal"],
                ui_port=ports["ui"],
            )
            where = f"{self._temporal.address}, UI {self._temporal.ui_url}"
            parts.append(Part("temporal", self._temporal, self.reporter, where=where))
        else:
            self.reporter.note(f"Using Temporal at {self._surroundings['TEMPORAL_ADDRESS']}.")
        if self.sandbox_url:
            arguments = [*PAYSAGA, "stripe-sandbox", "--host", "127.0.0.1", "--port", str(ports["sandbox"])]
            arguments += ["--data", str(self._data.folder("sandbox") / "stripe.db")]
            ready = answers_http(self.sandbox_url + "/_sandbox/health")
            sandbox = self._program("sandbox", arguments, self._surroundings, ready)
            parts.append(Part("sandbox", sandbox, self.reporter, where=self.sandbox_url))
        else:
            self.reporter.note("Using Stripe, for STRIPE_SECRET_KEY is set.")
        return parts

    async def _prepare(self) -> None:
        from cli.stack.preparation import prepare_database, prepare_temporal

        settings = self.settings
        service = SERVICE if self._postgres else None
        steps = [prepare_database(self.owner_database_url, mode=settings.mode, service=service)]
        steps.append(prepare_temporal(settings))
        if self.sandbox_url:
            steps.append(self._register_webhooks(self.sandbox_url))
        await _all(*steps)
        self.reporter.note("Postgres is migrated, Temporal knows the search attributes.")

    async def _register_webhooks(self, sandbox_url: str) -> None:
        known = self._state.endpoints
        heard_at = [self.routed("sandbox", "api", url) for url in self.api_urls]
        self._state.endpoints = await register(sandbox_url, self.stripe_secret_key, heard_at, known)
        self._data.save(self._state)

    def _inner(self) -> list[Part]:
        settings = self.settings
        polls = polls_temporal(self._temporal_client, settings.task_queue)
        parts = []
        for index in range(self.options.workers):
            argv, environment = self.options.worker_program, self.environment_of("worker")
            worker = self._program(called("worker", index), argv, environment, polls)
            where = f"task queue {settings.task_queue}"
            parts.append(Part("worker", worker, self.reporter, where=where, index=index))
        for index, url in enumerate(self.api_urls):
            environment = {**self.environment_of("api"), "PAYSAGA_API_PORT": str(urlsplit(url).port)}
            api = self._program(called("api", index), [*PAYSAGA, "api"], environment, answers_http(url + "/readyz"))
            parts.append(Part("api", api, self.reporter, where=url, index=index))
        return parts

    def _program(self, name: str, argv: Sequence[str], environment: Mapping[str, str], ready: Ready) -> Program:
        return Program(self._child(name), argv, environment=environment, cwd=self._data.path, ready=ready)

    async def _temporal_client(self) -> Client:
        from cli.stack.preparation import connect_temporal

        if self._client is None:
            self._client = await connect_temporal(self.settings)
        return self._client


async def _all(*steps: Awaitable[object]) -> None:
    """Runs the steps at once. When one fails, the others are given up before its error is raised."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
