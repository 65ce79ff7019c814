"""What every client asked and was told: written down before a request is sent, and when its answer came or did not.

A process that dies, or a judge that doubts, finds it in a file, a line each in JSON.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass
class Attempt:
    """One sending of a request. Times are seconds since the run began."""

    sent_at: float
    answered_at: float | None = None
    """None: no whole answer came."""
    status: int | None = None
    """The HTTP status, if an answer came."""
    code: str | None = None
    """The code of the problem that the answer was, if it was one."""
    typed: bool = True
    """Whether a refusal was one of the API's documented problems."""
    operation: str | None = None
    """The operation that the answer names."""

    @property
    def accepted(self) -> bool:
        """The client was told that it is done, or will be."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """The client was told that it is not done."""
        return self.status is not None and 400 <= self.status < 500


@dataclass
class Request:
    """One wish of a client's, under one Idempotency-Key, however often it was sent."""

    number: int
    what: str
    """The kind of the operation to make; or the verb, if it is `about` one."""
    caller: str
    key: str
    path: str
    body: dict[str, Any]
    user: str
    """Whose operation it is to be; of a verb, who acts."""
    about: str | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Some answer said that it is done or will be. So it must have happened, once."""
        return any(attempt.accepted for attempt in self.attempts)

    @property
    def settled(self) -> bool:
        """Some answer said that it is done, not merely that it will be seen to (202)."""
        return any(attempt.status in (200, 201) for attempt in self.attempts)

    @property
    def refused(self) -> bool:
        """Some answer said that it is not done. So it must have had no effect."""
        return any(attempt.refused for attempt in self.attempts)

    @property
    def unknown(self) -> bool:
        """No answer said anything. It may have happened, at most once."""
        return not (self.acknowledged or self.refused)

    @property
    def operations(self) -> list[str]:
        """Every operation that the answers named, each once."""
        return list(dict.fromkeys(each.operation for each in self.attempts if each.operation is not None))


class Record:
    """Every request of a run. Usable as `with Record(file) as record`."""

    def __init__(self, file: Path) -> None:
        self.requests: list[Request] = []
        self._began = time.monotonic()
        self._file = file.open("w")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin(self, **about: Any) -> Request:
        """A new wish, not sent yet; the fields of `Request` but for its number."""
        request = Request(number=len(self.requests), **about)
        self.requests.append(request)
        self._write(asdict(request))
        return request

    def sending(self, request: Request) -> Attempt:
        """It is about to be sent."""
        attempt = Attempt(sent_at=self._now())
        request.attempts.append(attempt)
        self._write({"number": request.number, "sending": len(request.attempts), "at": attempt.sent_at})
        return attempt

    def answered(self, request: Request, attempt: Attempt) -> None:
        """An answer has come; the attempt says which."""
        attempt.answered_at = self._now()
        self._write({"number": request.number, "answer": len(request.attempts), **asdict(attempt)})

    def unanswered(self, request: Request, why: str) -> None:
        """No answer has come, and none will."""
        self._write({"number": request.number, "no answer": len(request.attempts), "at": self._now(), "why": why})

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _write(self, line: dict[str, Any]) -> None:
        # Flushed, so that it is there whatever becomes of this process.
        print(json.dumps(line), file=self._file, flush=True)
