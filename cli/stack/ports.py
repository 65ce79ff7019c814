"""TCP ports on 127.0.0.1: the ones asked for, else last time's, else the defaults, else free ones."""

import secrets
import socket
from collections.abc import Callable, Container, Mapping

from cli.stack.errors import PortTaken
from cli.stack.parts import called

DEFAULT_PORTS = {"api": 8000, "temporal": 7233, "ui": 8233, "postgres": 5433, "sandbox": 12111}


_OURS = range(20_000, 32_000)


_HIGHEST = 65_535


class PortClaims:
    """Ports that a stack has chosen, from its choice until a part of it listens there, and on until it ends.

    The API listens seconds after its port was chosen, and a second stack, started in between, must not choose the same:
    it would be the first one's API that answers it. Of a TCP port's number, the UDP port is bound, which nothing of
    ours uses: only one process can have it, and it goes with the process, however that ends.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, port: int) -> bool:
        """Claim a port, unless it is in use or another stack has claimed it."""
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            return False
        if not is_free(port):
            claim.close()
            return False
        self._held.append(claim)
        return True

    def release(self) -> None:
        """Give every claim up."""
        while self._held:
            self._held.pop().close()


def choose_ports(
    asked: Mapping[str, int], remembered: Mapping[str, int], take: Callable[[int], bool], *, apis: int = 1
) -> dict[str, int]:
    """A port for each name in `DEFAULT_PORTS`, and for each further API. Raises `PortTaken` only for one asked for.

    The default of a further API (`api-2`, `api-3`) is the port after the API before it. `take` claims a port, or says
    that it cannot be had.
    """
    chosen: dict[str, int] = {}
    # What was asked for goes first, so that no default takes it.
    for name in sorted(DEFAULT_PORTS, key=lambda name: name not in asked):
        if name in asked:
            if asked[name] in chosen.values() or not take(asked[name]):
                raise PortTaken(f"Port {asked[name]} for the {name} is in use: end what uses it, or ask for another.")
            chosen[name] = asked[name]
            continue
        wishes = [port for port in (remembered.get(name), DEFAULT_PORTS[name]) if port is not None]
        free = (port for port in wishes if port not in chosen.values() and take(port))
        chosen[name] = next(free, None) or free_port(besides=chosen.values(), take=take)
    for index in range(1, apis):
        name, next_one = called("api", index), chosen[called("api", index - 1)] + 1
        wishes = [port for port in (remembered.get(name), next_one) if port is not None and port <= _HIGHEST]
        free = (port for port in wishes if port not in chosen.values() and take(port))
        chosen[name] = next(free, None) or free_port(besides=chosen.values(), take=take)
    return chosen


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: the remains of closed connections do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(besides: Container[int] = (), take: Callable[[int], bool] | None = None) -> int:
    """A port that nothing uses, and that is none of `besides`.

    Chosen below the range from which systems take the ports of outgoing connections: one of those could be taken by
    a connection before our server listens on it.
    """
    while True:
        port = secrets.choice(_OURS)
        if port not in besides and (take or is_free)(port):
            return port
