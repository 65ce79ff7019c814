"""Which services a stack runs itself, which of the outside it uses, and what its processes are told."""

from pathlib import Path

import pytest

from cli.stack.data import DataDirectory
from cli.stack.options import StackOptions
from cli.stack.supervisor import Stack

OUTSIDE = {
    "DATABASE_URL": "postgresql://u@db.example/d",
    "TEMPORAL_ADDRESS": "temporal.example:7233",
    "TEMPORAL_NAMESPACE": "theirs",
    "TEMPORAL_TLS": "true",
    "STRIPE_SECRET_KEY": "sk_test_theirs",
    "STRIPE_WEBHOOK_SECRETS": "whsec_theirs",
}


def test_services_of_the_outside_are_used_when_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OUTSIDE.items():
        monkeypatch.setenv(name, value)

    told = StackOptions(data=tmp_path).surroundings()

    assert {name: told[name] for name in OUTSIDE} == OUTSIDE


def test_a_stack_of_its_own_is_not_misled_by_what_the_shell_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OUTSIDE.items():
        monkeypatch.setenv(name, value)

    told = StackOptions(data=tmp_path, embedded_only=True, environment={"PAYSAGA_SWEEP_EVERY": "1"}).surroundings()

    assert not OUTSIDE.keys() & told.keys()
    assert told["PAYSAGA_SWEEP_EVERY"] == "1"


def test_options_of_a_service_that_is_not_named_are_dropped(tmp_path: Path) -> None:
    environment = {"TEMPORAL_TLS": "true", "STRIPE_API_BASE": "http://elsewhere", "DATABASE_URL": ""}

    told = StackOptions(data=tmp_path, environment=environment).surroundings()

    assert not environment.keys() & told.keys()


async def test_with_a_key_of_stripe_no_sandbox_is_started(tmp_path: Path) -> None:
    options = StackOptions(
        data=tmp_path,
        environment={"STRIPE_SECRET_KEY": "sk_test_theirs", "STRIPE_WEBHOOK_SECRETS": "whsec_theirs"},
        api_and_worker=False,
        fsync=False,
        temporary=True,
    )

    async with Stack(options) as stack:
        assert [part.name for part in stack.parts] == ["postgres", "temporal"]
        assert stack.sandbox_url is None
        assert stack.stripe_secret_key == "sk_test_theirs"
        assert stack.settings.stripe_api_base == "https://api.stripe.com"
        assert [secret.get_secret_value() for secret in stack.settings.stripe_webhook_secrets] == ["whsec_theirs"]
        with pytest.raises(KeyError):
            stack.part("sandbox")


@pytest.mark.long
async def test_something_can_be_put_between_the_parts(tmp_path: Path) -> None:
    """Each part is told another port; the stack itself goes on by the real ones."""
    asked: dict[tuple[str, str], int] = {}

    def route(part: str, service: str, port: int) -> int:
        asked[part, service] = port
        return port + 1

    options = StackOptions(
        data=tmp_path, embedded_only=True, api_and_worker=False, fsync=False, temporary=True, route=route
    )
    async with Stack(options) as stack:
        told, real = stack.environment_of("worker"), stack.environment
        endpoints = DataDirectory(tmp_path).load().endpoints

    for name, service in (
        ("DATABASE_URL", "postgres"),
        ("TEMPORAL_ADDRESS", "temporal"),
        ("STRIPE_API_BASE", "sandbox"),
    ):
        port = asked["worker", service]
        assert told[name] == real[name].replace(f":{port}", f":{port + 1}") != real[name]
    api = asked["sandbox", "api"]
    assert stack.api_url == f"http://127.0.0.1:{api}"
    assert {endpoint.url.partition("/v1")[0] for endpoint in endpoints.values()} == {f"http://127.0.0.1:{api + 1}"}
