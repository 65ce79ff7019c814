"""A worker that dies by SIGKILL at one point of one step, each time it is started: a process of its own.

Reads points from standard input, a line each: `<activity>:before`, `<activity>:after` or `never`. "Before" is before
anything of the step has happened, "after" is when all its commits are done and Temporal has not been told. For each
line it starts a worker (by fork: quicker than importing everything anew), waits for its end and says how it ended.
Shipped code has no such switch.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

import worker.main
from domain.settings import Settings


class CrashAt(Interceptor):
    """Kills this process at a point of an activity."""

    def __init__(self, activity: str, moment: str) -> None:
        self.activity = activity
        self.moment = moment

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Crash(next, self)


class _Crash(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, point: CrashAt) -> None:
        super().__init__(next)
        self._point = point

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        here = input.fn.__name__ == self._point.activity
        if here and self._point.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await super().execute_activity(input)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def main() -> None:
    """One worker after the other."""
    for line in sys.stdin:
        activity, _, moment = line.strip().partition(":")
        child = os.fork()
        if child == 0:
            # Temporal's SDK logs to standard output, which is this process's own to answer on.
            os.dup2(2, 1)
            asyncio.run(worker.main.serve(Settings(), around=[CrashAt(activity, moment)]))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
