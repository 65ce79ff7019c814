"""Whom Postgres runs as. It refuses to run as root, so root starts it as an account that owns nothing else."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cli.stack.errors import BinaryMissing


@dataclass(frozen=True)
class Account:
    """A user of this machine that a child process changes to; its extra groups are dropped."""

    name: str
    uid: int
    gid: int

    @classmethod
    def for_postgres(cls) -> Self | None:
        """None unless we are root: then `postgres` if that user exists, else `nobody`."""
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)
        raise BinaryMissing(
            "Postgres does not run as root, and this machine has neither a user `postgres` nor `nobody`:"
            " add one, or run this command as another user."
        )

    @classmethod
    def owner_of(cls, folder: Path) -> Self | None:
        """The owner of an existing folder, for root; None for everybody else."""
        if os.geteuid() != 0:
            return None
        status = folder.stat()
        return cls(str(status.st_uid), status.st_uid, status.st_gid)

    def can_enter(self, folder: Path) -> bool:
        """Whether this user can reach files in the folder: asked of the kernel, as that user."""
        return self._test("-x", folder)

    def can_run(self, program: Path) -> bool:
        return self._test("-x", program)

    def can_write(self, path: Path) -> bool:
        return self._test("-w", path)

    def _test(self, flag: str, path: Path) -> bool:
        # Anything but the kernel's own answer would have to know ACLs, mount options and every parent's mode.
        asked = subprocess.run(
            ["test", flag, str(path)], user=self.uid, group=self.gid, extra_groups=[], cwd="/", check=False
        )
        return asked.returncode == 0

    def give(self, folder: Path) -> None:
        """Makes the folder this user's, and closed to all others."""
        folder.chmod(0o700)
        os.chown(folder, self.uid, self.gid)
