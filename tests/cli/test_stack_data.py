"""The data directory: one stack at a time, secrets closed, everything remembered."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack.data import DataDirectory, Endpoint, State
from cli.stack.errors import DataDirectoryInUse, DataUnusable

HOLD = (
    "import pathlib, sys, time; from cli.stack.data import DataDirectory\n"
    "data = DataDirectory(pathlib.Path(sys.argv[1])); data.open(); print('held', flush=True); time.sleep(60)\n"
)


def test_a_second_stack_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirectoryInUse, match=rf"already runs on .*process {holder.pid}"):
            DataDirectory(tmp_path).open()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()

    # However it ended, nothing has to be cleaned up.
    data = DataDirectory(tmp_path)
    data.open()
    data.close()


def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataUnusable, match="name another with --data"):
        DataDirectory(tmp_path / "file").open()


def test_the_state_is_remembered_and_closed_to_other_users(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    state = State(ports={"api": 8000}, endpoints={"platform": Endpoint(id="we_1", url="http://x", secret="whsec_1")})

    data.save(state)

    assert DataDirectory(tmp_path).load() == state
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600


def test_every_stack_has_its_own_secrets(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path / "a").load(), DataDirectory(tmp_path / "b").load()

    assert first.jwt_secret != second.jwt_secret
    assert len(first.jwt_secret) >= 32
    assert first.stripe_key != second.stripe_key
    assert first.stripe_key.startswith("sk_test_")


def test_a_state_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"ports": 5}')

    with pytest.raises(DataUnusable, match=r"stack\.json cannot be read"):
        DataDirectory(tmp_path).load()


def test_the_environment_comes_back_as_a_shell_would_read_it(tmp_path: Path) -> None:
    variables = {"PLAIN": "1", "NESTED": '{"a": [1, 2]}', "QUOTED": "it's $HOME"}
    data = DataDirectory(tmp_path)

    data.save_environment(variables)

    sourced = f'. "{tmp_path}/environment"; printf %s "$QUOTED"'
    assert data.load_environment() == variables
    assert subprocess.run(["sh", "-c", sourced], capture_output=True, text=True, check=True).stdout == "it's $HOME"
    assert (tmp_path / "environment").stat().st_mode & 0o777 == 0o600


def test_a_directory_without_a_stack_has_no_environment(tmp_path: Path) -> None:
    assert DataDirectory(tmp_path).load_environment() == {}


def test_a_directory_that_was_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    mode = tmp_path.stat().st_mode

    data = DataDirectory(tmp_path)
    data.open()
    data.close()

    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert tmp_path.stat().st_mode == mode


def test_a_new_directory_keeps_itself_out_of_git(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "new")
    data.open()
    data.close()

    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / "new").stat().st_mode & 0o066
