"""The compose file: Docker reads it, and what it says agrees with the settings, the commands, and the code."""

import mmap
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import AliasChoices

from cli.main import app
from cli.settings import settings_from
from cli.stack.postgres import OWNER, SERVICE
from cli.stack.temporal import QUICK_QUEUES, find_binary
from domain.pacing import Pacing
from domain.settings import Mode, Settings
from tests.deployment.compose import FILE, GIVEN, ROOT, bytes_of, resolved, run, variables

OURS = ("migrate", "api", "worker", "stripe-sandbox")
WITH_SETTINGS = ("migrate", "api", "worker")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """All services, of every profile."""
    return resolved()


def test_docker_compose_takes_it() -> None:
    answered = run("config", "--quiet", given=GIVEN)

    assert (answered.returncode, answered.stdout, answered.stderr) == (0, "", "")


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("value", [None, ""])
def test_nothing_starts_without_a_secret(name: str, value: str | None) -> None:
    given = {other: GIVEN[other] for other in GIVEN if other != name} | ({name: value} if value is not None else {})

    answered = run("config", "--quiet", given=given)

    assert answered.returncode != 0
    assert f"required variable {name} is missing a value" in answered.stderr


def test_what_has_to_be_given_is_in_the_example() -> None:
    """Every variable and no other, those that may be left out as comments, and no value that somebody could keep."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    required = {line.removesuffix("=") for line in lines if re.fullmatch(r"[A-Z_]+=", line)}
    optional = {found.group(1) for line in lines if (found := re.match(r"# ([A-Z_]+)=\S", line))}

    assert required == {name for name, needed in variables().items() if needed} == set(GIVEN)
    assert optional == {name for name, needed in variables().items() if not needed}
    assert all(not line or line.startswith("#") or line.removesuffix("=") in required for line in lines)


def known_variables() -> set[str]:
    """Every name that the settings read."""
    known = {f"PAYSAGA_PACING__{name.upper()}" for name in Pacing.model_fields}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        known |= (
            {str(each) for each in alias.choices} if isinstance(alias, AliasChoices) else {f"PAYSAGA_{name.upper()}"}
        )
    return known


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_every_variable_is_a_setting(services: dict[str, Any], name: str) -> None:
    assert set(services[name]["environment"]) - known_variables() == set()


@pytest.mark.parametrize("name", WITH_SETTINGS)
@pytest.mark.parametrize(("mode", "key"), [(Mode.STAGING, "sk_test_given"), (Mode.LIVE, "sk_live_given")])
def test_the_settings_take_them(name: str, mode: Mode, key: str) -> None:
    services = resolved(GIVEN | {"PAYSAGA_MODE": mode, "STRIPE_SECRET_KEY": key})

    settings = settings_from(services[name]["environment"])

    assert settings.mode is mode
    assert settings.stripe_secret_key.get_secret_value() == key
    assert settings.stripe_api_base == "https://api.stripe.com"
    assert settings.jwt_public_key == GIVEN["PAYSAGA_JWT_PUBLIC_KEY"]
    assert settings.return_hosts == ("app.example.com",)
    assert settings.temporal_address == "temporal:7233"
    heard = (settings.stripe_webhook_secrets, settings.stripe_connect_webhook_secrets)
    secrets = [[secret.get_secret_value() for secret in some] for some in heard]
    assert secrets == ([["whsec_platform"], ["whsec_new", "whsec_old"]] if name == "api" else [[], []])


def test_api_and_worker_agree(services: dict[str, Any]) -> None:
    def shared(name: str) -> dict[str, str]:
        mine = {"PAYSAGA_API_HOST", "PAYSAGA_API_PORT", "STRIPE_WEBHOOK_SECRETS", "STRIPE_CONNECT_WEBHOOK_SECRETS"}
        return {key: value for key, value in services[name]["environment"].items() if key not in mine}

    assert shared("api") == shared("worker")
    owner = shared("migrate") | {"DATABASE_URL": shared("worker")["DATABASE_URL"]}
    assert owner == shared("worker")


def test_nobody_has_a_password_that_is_not_theirs(services: dict[str, Any]) -> None:
    def holders(secret: str) -> set[str]:
        return {name for name, service in services.items() if GIVEN[secret] in str(service.get("environment"))}

    assert holders("POSTGRES_PASSWORD") == {"postgres"}
    assert holders("DB_OWNER_PASSWORD") == {"postgres", "migrate"}
    assert holders("DB_SERVICE_PASSWORD") == {"postgres", "api", "worker"}
    assert holders("DB_TEMPORAL_PASSWORD") == {"postgres", "temporal-schema", "temporal"}
    assert holders("STRIPE_SECRET_KEY") == set(WITH_SETTINGS)


def test_the_roles_are_those_that_the_roles_file_makes(services: dict[str, Any]) -> None:
    sql = (ROOT / "deploy/postgres/roles.sql").read_text()
    made = dict(re.findall(r"CREATE ROLE (\w+) LOGIN .*PASSWORD :'(\w+)'", sql))
    passed = dict(re.findall(r"\\getenv (\w+) (\w+)", sql))
    databases = dict(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+)", sql))

    def login(user: str) -> str:
        return f"{user}:{GIVEN[passed[made[user]]]}"

    assert set(made) == {OWNER, SERVICE, "temporal"}
    assert set(passed.values()) <= set(services["postgres"]["environment"])
    urls = {name: services[name]["environment"]["DATABASE_URL"] for name in WITH_SETTINGS}
    assert urls == {
        "migrate": f"postgresql://{login(OWNER)}@postgres:5432/paysaga",
        "api": f"postgresql://{login(SERVICE)}@postgres:5432/paysaga",
        "worker": f"postgresql://{login(SERVICE)}@postgres:5432/paysaga",
    }
    assert services["migrate"]["command"] == ["migrate", "--service", SERVICE]
    temporal = services["temporal"]["environment"]
    assert (temporal["POSTGRES_USER"], databases[temporal["DBNAME"]]) == ("temporal", "temporal")
    assert databases == {"paysaga": OWNER, temporal["DBNAME"]: "temporal", temporal["VISIBILITY_DBNAME"]: "temporal"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(services: dict[str, Any], name: str) -> None:
    typed = services[name]["command"]
    if name == "worker":
        prefix, *check = services[name]["healthcheck"]["test"][1:]
        assert prefix == "paysaga"
        understood(check)
    understood(typed)


def understood(typed: list[str]) -> None:
    """Fails unless the command line takes these words."""
    group = typer.main.get_group(app)
    _, command, rest = group.resolve_command(typer.Context(group), list(typed))
    assert command is not None
    command.make_context(typed[0], rest)


def test_ports(services: dict[str, Any]) -> None:
    api = services["api"]
    port = int(api["environment"]["PAYSAGA_API_PORT"])
    assert api["environment"]["PAYSAGA_API_HOST"] == "0.0.0.0"
    assert f"http://127.0.0.1:{port}/readyz" in str(api["healthcheck"]["test"])
    [published] = api["ports"]
    assert published["target"] == port
    first, last = map(int, published["published"].split("-"))
    assert last - first + 1 == api["deploy"]["replicas"] == 2
    assert services["worker"]["deploy"]["replicas"] == 2

    sandbox = services["stripe-sandbox"]["command"]
    [published] = services["stripe-sandbox"]["ports"]
    port = published["target"]
    assert sandbox[sandbox.index("--port") + 1] == str(port)
    assert f"http://127.0.0.1:{port}/_sandbox/health" in str(services["stripe-sandbox"]["healthcheck"]["test"])
    assert f"http://stripe-sandbox:{port}" in (ROOT / ".env.example").read_text()

    assert services["temporal-ui"]["environment"]["TEMPORAL_ADDRESS"] == "temporal:7233"
    for name, service in services.items():
        for published in service.get("ports", []):
            assert published["host_ip"] == "127.0.0.1", f"{name} is open to the network"


def test_who_waits_for_whom(services: dict[str, Any]) -> None:
    waits = {
        name: {other: each["condition"] for other, each in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    healthy, done = "service_healthy", "service_completed_successfully"
    assert waits == {
        "postgres": {},
        "stripe-sandbox": {},
        "temporal-schema": {"postgres": healthy},
        "temporal": {"postgres": healthy, "temporal-schema": done},
        "temporal-ui": {"temporal": healthy},
        "migrate": {"postgres": healthy, "temporal": healthy},
        "api": {"postgres": healthy, "migrate": done},
        "worker": {"postgres": healthy, "temporal": healthy, "migrate": done},
    }
    for name, service in services.items():
        awaited = {each[name] for each in waits.values() if name in each}
        assert healthy not in awaited or "healthcheck" in service, name
        assert service["restart"] == ("no" if done in awaited else "unless-stopped"), name


def test_no_service_can_take_the_whole_machine(services: dict[str, Any]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert 0 < float(limits["cpus"]) <= 2, name
        assert 2**28 <= bytes_of(limits["memory"]) <= 2**31, name


def test_what_is_ours_may_change_nothing_around_it(services: dict[str, Any]) -> None:
    for name in OURS:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in services[name], "the image has its own"
    assert services["stripe-sandbox"]["profiles"] == ["sandbox"]
    assert [name for name in services if "profiles" in services[name]] == ["stripe-sandbox"]


def test_what_is_mounted_exists(services: dict[str, Any]) -> None:
    bound = [
        Path(mount["source"])
        for service in services.values()
        for mount in service.get("volumes", [])
        if mount["type"] == "bind"
    ]

    assert len(bound) == 3
    assert all(path.is_file() and path.is_relative_to(ROOT) for path in bound)


def test_connections_suffice(services: dict[str, Any]) -> None:
    """Postgres takes as many as everybody may open at once: each replica its pool, each service of Temporal's two."""
    flags = services["postgres"]["command"]
    most = int(next(flag for flag in flags if flag.startswith("max_connections=")).partition("=")[2])
    pool = Settings.model_fields["database_pool"].default
    replicas = sum(services[name]["deploy"].get("replicas", 1) for name in WITH_SETTINGS)

    assert most >= replicas * pool + 4 * (20 + 10) + 10


# ── Temporal ──


def test_temporal_is_tuned_as_the_embedded_one() -> None:
    """The same keys and values, so that what is measured with `paysaga up` holds."""
    text = (ROOT / "deploy/temporal/dynamic-config.yaml").read_text()
    tuned = re.findall(r"^(\S+):\n  - value: (\S+)$", text, re.MULTILINE)

    assert sorted(f"{key}={value}" for key, value in tuned) == sorted(QUICK_QUEUES)
    left = [line for line in text.splitlines() if line and not line.startswith(("#", "  - value: "))]
    assert len(left) == len(tuned)


def test_temporal_reads_these_variables(services: dict[str, Any]) -> None:
    """The embedded server's program holds the template by which the image of the same release configures itself."""
    with find_binary().open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program:
        begin = program.find(b"# enable-template\nlog:")
        assert begin >= 0
        template = program[begin : program.find(b'pollInterval: "60s"', begin)].decode()
    read = set(re.findall(r'env "(\w+)"', template))

    said = subprocess.run([str(find_binary()), "--version"], capture_output=True, text=True, check=True).stdout
    releases = re.search(r"Server ([\d.]+), UI ([\d.]+)", said)
    assert releases is not None
    images = {name: services[name]["image"] for name in ("temporal", "temporal-schema", "temporal-ui")}
    assert images == {
        "temporal": f"temporalio/server:{releases.group(1)}",
        "temporal-schema": f"temporalio/admin-tools:{releases.group(1)}",
        "temporal-ui": f"temporalio/ui:{releases.group(2)}",
    }
    environment = services["temporal"]["environment"]
    assert set(environment) <= read
    assert f'"{environment["DB"]}"' in template
    mounted = [mount["target"] for mount in services["temporal"]["volumes"]]
    assert mounted == [environment["DYNAMIC_CONFIG_FILE_PATH"]]


def test_the_file_names_no_host_but_its_own() -> None:
    """Images come from wherever Docker is told to get them."""
    for path in (FILE, ROOT / "Dockerfile"):
        for image in re.findall(r"(?:image: |FROM |--from=)(\S+)", path.read_text()):
            assert "." not in image.partition("/")[0].partition(":")[0], image
