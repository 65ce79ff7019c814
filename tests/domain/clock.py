"""Time, where a test needs it to have passed."""

import time


def next_millisecond() -> None:
    """Return in a later millisecond."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= now:
        pass
