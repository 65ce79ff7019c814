"""Circuit breakers, under a clock of the test's own."""

from collections.abc import Awaitable, Callable

import pytest
import stripe
from structlog.testing import capture_logs

from activities.breakers import Breakers, EndpointAway

pytestmark = pytest.mark.long

PAUSE = 5.0
SILENT: list[Callable[[], stripe.StripeError]] = [
    lambda: stripe.APIConnectionError("no connection"),  # type: ignore[no-untyped-call]  # The SDK leaves it unannotated.
    lambda: stripe.APIError("it broke", http_status=500),
    lambda: stripe.APIError("it is away", http_status=503),
]
ANSWERED: list[Callable[[], stripe.StripeError]] = [
    lambda: stripe.CardError("declined", None, "card_declined", http_status=402),  # type: ignore[no-untyped-call]  # The SDK leaves it unannotated.
    lambda: stripe.InvalidRequestError("no such thing", None, http_status=404),  # type: ignore[no-untyped-call]  # The SDK leaves it unannotated.
    lambda: stripe.AuthenticationError("who are you", http_status=401),
]
TURNED_AWAY: list[Callable[[], stripe.StripeError]] = [
    lambda: stripe.RateLimitError("too many", http_status=429),
    lambda: stripe.APIError("the key is in use", http_status=409),
]


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(failures=3, pause=PAUSE, clock=clock)


def saying(error: stripe.StripeError | None = None) -> Callable[[], Awaitable[str]]:
    """What is asked, and answered so."""

    async def question() -> str:
        if error is not None:
            raise error
        return "answer"

    return question


async def silence(breakers: Breakers, times: int = 3, endpoint: str = "payouts") -> None:
    """So many calls in a row that Stripe does not answer."""
    for _ in range(times):
        with pytest.raises(stripe.APIConnectionError):
            await breakers.ask(endpoint, saying(SILENT[0]()))


async def is_open(breakers: Breakers, endpoint: str = "payouts") -> bool:
    """Whether a question that would be answered is turned away, unasked."""
    try:
        assert await breakers.ask(endpoint, saying()) == "answer"
    except EndpointAway:
        return True
    return False


@pytest.mark.parametrize("error", SILENT)
async def test_silence_in_a_row_opens_it(breakers: Breakers, error: Callable[[], stripe.StripeError]) -> None:
    for _ in range(3):
        with pytest.raises(stripe.StripeError):
            await breakers.ask("payouts", saying(error()))

    assert await is_open(breakers)


async def test_less_than_so_many_do_not(breakers: Breakers) -> None:
    for _ in range(5):
        await silence(breakers, 2)
        assert not await is_open(breakers), "an answer between them begins anew"


@pytest.mark.parametrize("error", ANSWERED)
async def test_no_answer_of_stripes_opens_it(breakers: Breakers, error: Callable[[], stripe.StripeError]) -> None:
    for _ in range(10):
        with pytest.raises(stripe.StripeError):
            await breakers.ask("payouts", saying(error()))
    assert not await is_open(breakers)

    await silence(breakers, 2)
    with pytest.raises(stripe.StripeError):
        await breakers.ask("payouts", saying(error()))
    await silence(breakers, 2)
    assert not await is_open(breakers), "it is there, whatever it says"


@pytest.mark.parametrize("error", TURNED_AWAY)
async def test_what_says_nothing_either_way_changes_nothing(
    breakers: Breakers, clock: Clock, error: Callable[[], stripe.StripeError]
) -> None:
    async def turned_away(times: int) -> None:
        for _ in range(times):
            with pytest.raises(stripe.StripeError):
                await breakers.ask("payouts", saying(error()))

    await turned_away(10)
    assert not await is_open(breakers), "it opens none"
    await silence(breakers, 2)
    await turned_away(1)
    await silence(breakers, 1)
    assert await is_open(breakers), "and is no answer between two silences"
    clock.now += PAUSE
    await turned_away(1)
    assert await is_open(breakers), "nor closes one: another finds out, after another pause"
    clock.now += PAUSE
    assert not await is_open(breakers)


async def test_other_endpoints_are_asked_on(breakers: Breakers) -> None:
    await silence(breakers)

    assert await is_open(breakers)
    assert not await is_open(breakers, "transfers")


async def test_nothing_goes_out_before_the_pause_is_over(breakers: Breakers, clock: Clock) -> None:
    await silence(breakers)
    clock.now += PAUSE - 0.01
    assert await is_open(breakers)

    clock.now += 0.01

    assert not await is_open(breakers), "an answer closes it"
    await silence(breakers, 2)
    assert not await is_open(breakers), "and what was before is forgotten"


async def test_one_at_a_time_finds_out(breakers: Breakers, clock: Clock) -> None:
    await silence(breakers)
    clock.now += PAUSE

    with breakers.attempt("payouts") as probe:
        probe.admit()
        clock.now += 10 * PAUSE
        assert await is_open(breakers), "however long the one takes"
        assert await probe.ask(saying()) == "answer"

        assert not await is_open(breakers)


async def test_who_finds_out_that_it_is_still_away_begins_another_pause(breakers: Breakers, clock: Clock) -> None:
    await silence(breakers)
    for _ in range(3):
        clock.now += PAUSE
        await silence(breakers, 1)
        clock.now += PAUSE - 0.01
        assert await is_open(breakers)
        clock.now += 0.01
    assert not await is_open(breakers)


async def test_who_was_to_find_out_and_did_not_ask_leaves_it_to_the_next(breakers: Breakers, clock: Clock) -> None:
    await silence(breakers)
    clock.now += PAUSE

    with breakers.attempt("payouts") as probe:
        probe.admit()

    assert not await is_open(breakers)


async def test_those_that_were_on_their_way_do_not_prolong_the_pause(breakers: Breakers, clock: Clock) -> None:
    with breakers.attempt("payouts") as late:
        late.admit()
        await silence(breakers)
        clock.now += PAUSE - 1
        with pytest.raises(stripe.APIConnectionError):
            await late.ask(saying(SILENT[0]()))
    clock.now += 1

    assert not await is_open(breakers)


async def test_opening_and_closing_are_told_once(breakers: Breakers, clock: Clock) -> None:
    with capture_logs() as told:
        await silence(breakers)
        await is_open(breakers)
        clock.now += PAUSE
        await silence(breakers, 1)
        clock.now += PAUSE
        await is_open(breakers)
        await is_open(breakers)

    assert [(line["log_level"], line["endpoint"]) for line in told] == [("warning", "payouts"), ("info", "payouts")]
