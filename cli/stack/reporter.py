"""What a stack says while it works. Silent here; the command `up` prints it."""


class Reporter:
    def ready(self, name: str, where: str, seconds: float) -> None:
        """A part can be used at `where`; it took `seconds`."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def trouble(self, text: str) -> None:
        """Something went wrong; the stack goes on."""

    def all_ready(self, seconds: float) -> None:
        """The whole stack can be used; it took `seconds`."""
