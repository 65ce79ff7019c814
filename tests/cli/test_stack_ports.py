"""Ports: asked for, remembered, default, free; in this order."""

import socket
from collections.abc import Iterator

import pytest

from cli.stack import ports
from cli.stack.errors import PortTaken
from cli.stack.ports import PortClaims, choose_ports, free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Defaults that are free, whatever else runs on this machine."""
    chosen: dict[str, int] = {}
    for name in ports.DEFAULT_PORTS:
        chosen[name] = free_port(besides=chosen.values())
    monkeypatch.setattr(ports, "DEFAULT_PORTS", chosen)
    return chosen


def test_the_defaults_are_taken_when_they_are_free(defaults: dict[str, int]) -> None:
    assert choose_ports({}, {}, is_free) == defaults


def test_a_default_that_is_taken_gives_way_to_a_free_port(defaults: dict[str, int], taken: int) -> None:
    defaults["api"] = taken

    chosen = choose_ports({}, {}, is_free)

    assert chosen["api"] != taken
    assert is_free(chosen["api"])
    assert chosen | {"api": taken} == defaults


def test_last_times_port_is_taken_again(defaults: dict[str, int]) -> None:
    last = free_port(besides=defaults.values())

    assert choose_ports({}, {"api": last}, is_free)["api"] == last


def test_last_times_port_gives_way_when_it_is_taken(defaults: dict[str, int], taken: int) -> None:
    assert choose_ports({}, {"api": taken}, is_free)["api"] == defaults["api"]


def test_a_port_that_was_asked_for_is_used_or_refused(defaults: dict[str, int], taken: int) -> None:
    wish = free_port(besides=defaults.values())

    assert choose_ports({"api": wish}, {"api": defaults["api"]}, is_free)["api"] == wish
    with pytest.raises(PortTaken, match=f"Port {taken} for the api is in use"):
        choose_ports({"api": taken}, {}, is_free)


def test_no_default_takes_what_was_asked_for(defaults: dict[str, int]) -> None:
    chosen = choose_ports({"sandbox": defaults["api"]}, {}, is_free)

    assert chosen["sandbox"] == defaults["api"]
    assert chosen["api"] != defaults["api"]


def test_one_port_cannot_be_asked_for_twice(defaults: dict[str, int]) -> None:
    with pytest.raises(PortTaken):
        choose_ports({"api": defaults["ui"], "sandbox": defaults["ui"]}, {}, is_free)


def test_two_that_choose_at_once_choose_different_ones(defaults: dict[str, int]) -> None:
    ours, theirs = PortClaims(), PortClaims()
    try:
        first = choose_ports({}, {}, ours.take)
        second = choose_ports({}, {}, theirs.take)
        with pytest.raises(PortTaken):
            choose_ports({"api": first["api"]}, {}, theirs.take)
    finally:
        ours.release()
        theirs.release()

    # Nothing listens yet, and still no port is both's; given up, it is the next one's
    assert first == defaults
    assert not set(first.values()) & set(second.values())
    third = PortClaims()
    assert choose_ports({}, {}, third.take) == defaults
    third.release()
