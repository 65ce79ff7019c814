"""`paysaga token`: for development, with the key of the stack that runs there."""

import time
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.stack.data import DataDirectory
from cli.stack.errors import BadSettings, StackError
from cli.tokens import development_token

SECRET = "a secret of at least thirty-two characters"


def claims_of(token: str, secret: str = SECRET) -> dict[str, object]:
    return dict(jwt.decode(token, secret, algorithms=["HS256"], audience="paysaga", issuer="paysaga"))


def test_it_is_printed_for_the_key_in_the_environment(tmp_path: Path) -> None:
    arguments = ["token", "--user", "usr_1", "--role", "customer", "--ttl", "60", "--data", str(tmp_path)]

    done = CliRunner().invoke(app, arguments, env={"PAYSAGA_JWT_SECRET": SECRET})

    claims = claims_of(done.stdout.strip())
    assert (claims["sub"], claims["role"]) == ("usr_1", "customer")
    issued, expires = claims["iat"], claims["exp"]
    assert isinstance(issued, int)
    assert isinstance(expires, int)
    assert expires - issued == 60
    assert abs(issued - time.time()) < 10


def test_it_is_signed_with_the_key_of_the_stack_on_the_data_directory(tmp_path: Path) -> None:
    other = SECRET[::-1]
    DataDirectory(tmp_path).save_environment({"PAYSAGA_JWT_SECRET": other})

    assert claims_of(development_token("usr_1", "admin", 60, tmp_path), other)["role"] == "admin"


def test_without_a_key_it_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="set PAYSAGA_JWT_SECRET, or name with --data"):
        development_token("usr_1", "admin", 60, tmp_path)


@pytest.mark.parametrize("mode", ["staging", "live", "nonsense"])
@pytest.mark.parametrize("where", ["environment", "stack"])
def test_it_is_refused_outside_development(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, where: str
) -> None:
    DataDirectory(tmp_path).save_environment(
        {"PAYSAGA_JWT_SECRET": SECRET} | ({"PAYSAGA_MODE": mode} if where == "stack" else {})
    )
    if where == "environment":
        monkeypatch.setenv("PAYSAGA_MODE", mode)

    with pytest.raises(StackError, match=f"in development only, and PAYSAGA_MODE is {mode}") as caught:
        development_token("usr_1", "admin", 60, tmp_path)

    assert caught.value.exit_code == 1


def test_a_short_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_JWT_SECRET", "short")

    with pytest.raises(BadSettings, match="at least 32"):
        development_token("usr_1", "admin", 60, tmp_path)


def test_an_unknown_role_is_refused() -> None:
    done = CliRunner().invoke(app, ["token", "--user", "usr_1", "--role", "king"])

    assert done.exit_code == 2
