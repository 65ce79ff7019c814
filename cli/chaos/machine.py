"""What the machine did meanwhile. A virtual one may have less than its cores: its host gives them to others."""

from pathlib import Path

_STAT = Path("/proc/stat")


class Clock:
    """Started when it is made."""

    def __init__(self) -> None:
        self._before = _times()

    def read(self) -> tuple[float, float]:
        """Of the time of all cores since it was started the shares, from 0 to 1, that were used, and that were given to
        others while there was something to do here (proc(5), `steal`)."""
        user, nice, system, idle, waiting, irq, softirq, stolen = (
            now - before for before, now in zip(self._before, _times(), strict=True)
        )
        busy = user + nice + system + irq + softirq
        total = (busy + idle + waiting + stolen) or 1
        return busy / total, stolen / total


def _times() -> list[int]:
    """Of all cores together: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(ticks) for ticks in _STAT.read_text().split(maxsplit=9)[1:9]]
