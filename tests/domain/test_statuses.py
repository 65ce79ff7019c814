"""A deposit's statuses only move forward."""

import pytest

from domain.statuses import DEPOSIT_NEXT, DepositStatus, before, is_terminal, too_late_to_cancel

TERMINAL = {DepositStatus.SUCCEEDED, DepositStatus.FAILED, DepositStatus.CANCELED, DepositStatus.EXPIRED}


def reachable(status: DepositStatus) -> set[DepositStatus]:
    """All that may follow, sooner or later."""
    found: set[DepositStatus] = set()
    queue = [status]
    while queue:
        for later in DEPOSIT_NEXT[queue.pop()] - found:
            found.add(later)
            queue.append(later)
    return found


def test_every_status_has_its_moves() -> None:
    assert set(DEPOSIT_NEXT) == set(DepositStatus)


@pytest.mark.parametrize("status", DepositStatus)
def test_no_status_comes_twice(status: DepositStatus) -> None:
    assert status not in reachable(status)


@pytest.mark.parametrize("status", DepositStatus)
def test_the_customer_may_rely_on_what_has_no_successor(status: DepositStatus) -> None:
    assert is_terminal(status) is (status in TERMINAL)


@pytest.mark.parametrize("status", sorted(set(DepositStatus) - TERMINAL))
def test_every_end_can_be_reached_from_every_open_status(status: DepositStatus) -> None:
    assert reachable(status) >= TERMINAL


def test_before_is_the_moves_read_backwards() -> None:
    assert {(earlier, later) for later in DepositStatus for earlier in before(later)} == {
        (earlier, later) for earlier, laters in DEPOSIT_NEXT.items() for later in laters
    }
    assert before(DepositStatus.REQUESTED) == []
    assert before(DepositStatus.AWAITING_PAYMENT) == [DepositStatus.REQUESTED]


def test_too_late_says_what_became_of_it() -> None:
    failure = too_late_to_cancel(DepositStatus.SUCCEEDED)

    assert (failure.code, failure.detail) == ("not-cancelable", "The deposit is succeeded.")
