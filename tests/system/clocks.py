"""A process whose clock is wrong: libfaketime, loaded before it, answers for the kernel."""

import importlib.util
from pathlib import Path
from typing import TypedDict


class Variables(TypedDict):
    """Of the environment of a process that lives by a clock of ours."""

    LD_PRELOAD: str
    FAKETIME_TIMESTAMP_FILE: str
    FAKETIME_NO_CACHE: str
    FAKETIME_DONT_FAKE_MONOTONIC: str


class Clock:
    """How far the clock of the processes is off that are started with `environment`; right at first.

    Their timeouts are those of a clock that nobody can set, and stay right.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.off_by(0)

    def off_by(self, seconds: int) -> None:
        """From now on it is so many seconds fast; slow, if that is negative."""
        # Renamed into place, so that nobody reads half of it.
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.rename(self._file)

    @property
    def environment(self) -> Variables:
        """The variables of a process that lives by this clock."""
        package = importlib.util.find_spec("libfaketime")
        assert package is not None, "libfaketime is missing, which is there for Linux on x86-64 alone"
        assert package.origin is not None
        library = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
        assert library.exists(), library
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
