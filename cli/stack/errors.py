"""Why the stack could not do what it was asked. Every message is one sentence that ends in the remedy.

StackError
├── BadSettings          a setting that cannot be meant
├── DataDirectoryInUse   another process runs a stack on this data directory
├── DataUnusable         what the data directory holds cannot be used as it is
├── PortTaken            a port that was asked for is used by something else
├── BinaryMissing        Postgres or the Temporal server is not installed
├── PostgresTooOld       only a Postgres older than 16 was found
└── PartFailed           a part ended, or did not become ready in time
"""

from pathlib import Path


class StackError(Exception):
    """An expected failure: printed as it is, without a traceback."""

    exit_code = 1


class BadSettings(StackError):
    exit_code = 2


class DataDirectoryInUse(StackError):
    pass


class DataUnusable(StackError):
    pass


class PortTaken(StackError):
    pass


class BinaryMissing(StackError):
    pass


class PostgresTooOld(BinaryMissing):
    pass


class PartFailed(StackError):
    """Carries the last lines of the part's log, because they nearly always say why."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        self.name = name
        self.log = log
        last = tail(log)
        super().__init__(f"{name} {what}; its log is {log}" + (f" and ends:\n{last}" if last else ""))


def tail(log: Path, lines: int = 8, longest: int = 8192) -> str:
    """The last lines of a log file, read from its last `longest` bytes."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - longest))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])
