"""Statuses move as their lifecycle says."""

import pytest

from domain.operations import OperationKind
from domain.statuses import (
    CANCELED,
    LIFECYCLES,
    ConnectedAccountStatus,
    DepositStatus,
    OfferStatus,
    Status,
    WithdrawalStatus,
    before,
    ends_like,
    is_terminal,
    status_of,
    too_late_to_cancel,
)

EVERY = [(kind, status) for kind, life in LIFECYCLES.items() for status in life.statuses]


def reachable(kind: OperationKind, status: Status) -> set[Status]:
    """All that may follow, sooner or later."""
    found: set[Status] = set()
    queue = [status]
    while queue:
        for later in LIFECYCLES[kind].next[queue.pop()] - found:
            found.add(later)
            queue.append(later)
    return found


def test_every_kind_has_a_lifecycle_of_its_own_statuses() -> None:
    assert set(LIFECYCLES) == set(OperationKind)
    for life in LIFECYCLES.values():
        assert set(life.next) == set(life.statuses)
        assert set().union(*life.next.values()) <= set(life.statuses)
        assert life.terminal


@pytest.mark.parametrize(("kind", "status"), EVERY)
def test_no_status_comes_twice(kind: OperationKind, status: Status) -> None:
    # But those of an account, which Stripe may restrict and set free many times
    if status not in (ConnectedAccountStatus.ACTIVE, ConnectedAccountStatus.RESTRICTED):
        assert status not in reachable(kind, status)


@pytest.mark.parametrize(("kind", "status"), EVERY)
def test_what_has_no_successor_is_terminal(kind: OperationKind, status: Status) -> None:
    assert is_terminal(status) is (not LIFECYCLES[kind].next[status] or status is WithdrawalStatus.PAID)


@pytest.mark.parametrize(("kind", "status"), EVERY)
def test_an_open_status_has_an_end(kind: OperationKind, status: Status) -> None:
    assert is_terminal(status) or reachable(kind, status) & LIFECYCLES[kind].terminal


def test_a_bank_may_send_back_what_was_paid() -> None:
    assert reachable(OperationKind.WITHDRAWAL, WithdrawalStatus.PAID) >= {WithdrawalStatus.REVERSED}
    assert WithdrawalStatus.PAID not in reachable(OperationKind.WITHDRAWAL, WithdrawalStatus.REVERSING)


def test_what_was_transferred_is_never_said_to_have_failed() -> None:
    after = reachable(OperationKind.WITHDRAWAL, WithdrawalStatus.TRANSFERRED)

    assert WithdrawalStatus.FAILED not in after
    assert WithdrawalStatus.RESERVED not in after


def test_what_an_offer_has_held_never_fails_and_what_is_contested_only_an_operator_ends() -> None:
    assert OfferStatus.FAILED not in reachable(OperationKind.OFFER, OfferStatus.HELD)
    assert reachable(OperationKind.OFFER, OfferStatus.CONTESTED) == {OfferStatus.RESOLVED}
    assert OfferStatus.DECLINED not in reachable(OperationKind.OFFER, OfferStatus.ACCEPTED)
    assert OfferStatus.EXPIRED not in reachable(OperationKind.OFFER, OfferStatus.ACCEPTED)


def test_before_is_the_moves_read_backwards() -> None:
    for life in LIFECYCLES.values():
        assert {(earlier, later) for later in life.statuses for earlier in before(later)} == {
            (earlier, later) for earlier, laters in life.next.items() for later in laters
        }
    assert before(DepositStatus.REQUESTED) == []
    assert before(WithdrawalStatus.RESERVED) == [WithdrawalStatus.REQUESTED]


def test_ends_are_those_of_the_same_kind() -> None:
    for life in LIFECYCLES.values():
        for status in life.statuses:
            assert set(ends_like(status)) == life.terminal
    assert set(map(type, ends_like(WithdrawalStatus.PAID))) == {WithdrawalStatus}


def test_equal_words_of_two_kinds_are_two_statuses() -> None:
    assert status_of("deposit", "requested") is DepositStatus.REQUESTED
    assert status_of("withdrawal", "requested") is WithdrawalStatus.REQUESTED
    assert before(DepositStatus.FAILED) != before(WithdrawalStatus.FAILED)


def test_canceled_is_canceled_whatever_the_kind() -> None:
    assert {str(DepositStatus.CANCELED), str(WithdrawalStatus.CANCELED)} == {CANCELED}


def test_too_late_says_what_became_of_it() -> None:
    paid, paying = too_late_to_cancel(DepositStatus.SUCCEEDED), too_late_to_cancel(WithdrawalStatus.PAYING_OUT)

    assert (paid.code, paid.detail) == ("not-cancelable", "The deposit is succeeded.")
    assert paying.detail == "The withdrawal is paying out."
