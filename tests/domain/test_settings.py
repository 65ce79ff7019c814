"""Settings: which deployments may not be, and that no secret is ever shown."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.money import Money, currency
from domain.offers import HOUR, OfferTerms
from domain.settings import DEFAULT_DEPOSIT_BOUNDS, DEFAULT_WITHDRAWAL_BOUNDS, Bounds, Mode, Settings

DATABASE_URL = "postgresql://paysaga:database-hush@localhost/paysaga"


def settings(**more: Any) -> Settings:
    """A deployment's settings; those of a laptop unless told otherwise."""
    laptop = {"database_url": DATABASE_URL, "stripe_secret_key": "sk_test_hush", "jwt_public_key": "a PEM"}
    return Settings.model_validate(laptop | more)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests."""
    for field, known in Settings.model_fields.items():
        for name in (f"PAYSAGA_{field}".upper(), *getattr(known.validation_alias, "choices", ())):
            monkeypatch.delenv(str(name), raising=False)


# ── Live money and test money ──


@pytest.mark.parametrize("key", ["sk_live_hush", "rk_live_hush"])
def test_live_takes_a_live_key(key: str) -> None:
    assert settings(mode="live", stripe_secret_key=key).livemode


@pytest.mark.parametrize("key", ["sk_test_hush", "rk_test_hush", "pk_live_hush", "", "hush_sk_live_"])
def test_live_refuses_any_other_key(key: str) -> None:
    with pytest.raises(ValidationError, match="needs a live STRIPE_SECRET_KEY"):
        settings(mode="live", stripe_secret_key=key)


@pytest.mark.parametrize("mode", [Mode.DEVELOPMENT, Mode.STAGING])
@pytest.mark.parametrize("key", ["sk_live_hush", "rk_live_hush", "pk_test_hush", "", "SK_TEST_hush"])
def test_a_test_mode_never_moves_real_money(mode: Mode, key: str) -> None:
    assert not settings(mode=mode).livemode
    with pytest.raises(ValidationError, match="must never move real money"):
        settings(mode=mode, stripe_secret_key=key)


def test_a_mode_is_one_of_three() -> None:
    assert settings().mode is Mode.DEVELOPMENT
    with pytest.raises(ValidationError):
        settings(mode="production")


# ── Who may sign tokens ──


def test_the_development_secret_is_for_development() -> None:
    secret = "x" * 32

    assert settings(jwt_secret=secret).jwt_secret is not None
    for mode, key in (("staging", "sk_test_hush"), ("live", "sk_live_hush")):
        with pytest.raises(ValidationError, match="PAYSAGA_JWT_SECRET is for development"):
            settings(mode=mode, stripe_secret_key=key, jwt_secret=secret)


def test_beyond_development_a_token_is_proven_by_a_public_key() -> None:
    assert settings(jwt_public_key=None).mode is Mode.DEVELOPMENT
    for mode, key in (("staging", "sk_test_hush"), ("live", "sk_live_hush")):
        with pytest.raises(ValidationError, match="needs PAYSAGA_JWT_PUBLIC_KEY"):
            settings(mode=mode, stripe_secret_key=key, jwt_public_key=None)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 32"):
        settings(jwt_secret="x" * 31)


# ── Patience and bounds ──


@pytest.mark.parametrize("http_timeout", [30.0, 31.0])
def test_a_call_ends_before_its_activity_does(http_timeout: float) -> None:
    assert settings(pacing={"http_timeout": 29.9}).pacing.start_to_close == 30.0
    with pytest.raises(ValidationError, match="must be shorter than PAYSAGA_PACING__START_TO_CLOSE"):
        settings(pacing={"http_timeout": http_timeout})


@pytest.mark.parametrize("code", DEFAULT_DEPOSIT_BOUNDS)
def test_the_default_bounds_are_ten_units_or_more_and_payable(code: str) -> None:
    bounds = DEFAULT_DEPOSIT_BOUNDS[code]

    assert Money(bounds.smallest, code).check_increment()
    assert bounds.smallest >= 3 * 10 ** currency(code).exponent
    assert bounds.largest == 99_999_999, "Stripe's own ceiling of a charge"


@pytest.mark.parametrize("code", DEFAULT_WITHDRAWAL_BOUNDS)
def test_the_default_bounds_of_a_withdrawal_are_ten_to_ten_thousand_units(code: str) -> None:
    bounds = DEFAULT_WITHDRAWAL_BOUNDS[code]
    units = [Money(bound, code).check_increment().amount for bound in (bounds.smallest, bounds.largest)]

    if code == "jpy":
        assert units == [1_000, 1_000_000]
    else:
        assert [unit / 10 ** currency(code).exponent for unit in units] == [10, 10_000]


def test_every_currency_of_a_wallet_can_be_withdrawn_by_default() -> None:
    assert set(settings().withdrawal_bounds) == set(settings().deposit_bounds)


def test_what_can_be_paid_in_can_be_offered_by_default() -> None:
    assert settings().offer_bounds == settings().deposit_bounds
    assert settings().offer_terms == OfferTerms()


@pytest.mark.parametrize(
    "terms",
    [
        {"platform_fee": {"default": 10_001}},
        {"service_fee": {"default": -1}},
        {"service_fee": {"default": 2_000, "by_currency": {"USD": 1}}},
        {"accept_within": 0},
        {"deliver_within": 91 * 24 * HOUR},
        {"complete_within": "soon"},
        {"grace": 1},
    ],
)
def test_terms_that_cannot_be_meant_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="offer_terms"):
        settings(offer_terms=terms)


@pytest.mark.parametrize(
    "bounds",
    [{"smallest": 0}, {"smallest": -1}, {"smallest": 5, "largest": 4}, {"smallest": 1, "largest": 100_000_000}],
)
def test_bounds_that_leave_no_room_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Bounds.model_validate(bounds)


@pytest.mark.parametrize("code", ["USD", "xxx"])
@pytest.mark.parametrize("name", ["deposit_bounds", "withdrawal_bounds", "offer_bounds"])
def test_a_wallets_currency_is_one_that_stripe_settles(name: str, code: str) -> None:
    with pytest.raises(ValidationError, match="not a currency"):
        settings(**{name: {code: {"smallest": 1_000}}})


@pytest.mark.parametrize(
    "name",
    ["answer_within", "sweep_every", "sweep_older_than", "catch_up_every", "catch_up_older_than", "earnings_hold"],
)
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_wait_is_a_number_of_seconds(name: str, value: float) -> None:
    with pytest.raises(ValidationError):
        settings(**{name: value})


def test_what_was_earned_can_be_withdrawn_at_once_unless_somebody_says_otherwise() -> None:
    assert settings().earnings_hold == 0
    assert settings(earnings_hold=86_400).earnings_hold == 86_400


@pytest.mark.parametrize("days", [-1, 1.5])
def test_an_estimate_is_a_number_of_days(days: float) -> None:
    assert settings(payout_days=0).payout_days == 0
    with pytest.raises(ValidationError):
        settings(payout_days=days)


# ── As the environment says it ──


def test_the_environment_is_read_under_its_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_hush")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRETS", "whsec_new , whsec_old,,")
    monkeypatch.setenv("STRIPE_CONNECT_WEBHOOK_SECRETS", "")
    monkeypatch.setenv("PAYSAGA_PACING__HTTP_TIMEOUT", "5")
    monkeypatch.setenv("PAYSAGA_DEPOSIT_BOUNDS", '{"usd": {"smallest": 500}}')
    monkeypatch.setenv("PAYSAGA_WITHDRAWAL_BOUNDS", '{"usd": {"smallest": 500, "largest": 600}}')
    monkeypatch.setenv("PAYSAGA_OFFER_BOUNDS", '{"jpy": {"smallest": 7}}')
    monkeypatch.setenv("PAYSAGA_OFFER_TERMS__PLATFORM_FEE", '{"default": 300, "by_currency": {"jpy": 0}}')
    monkeypatch.setenv("PAYSAGA_OFFER_TERMS__SERVICE_FEE__DEFAULT", "1000")
    monkeypatch.setenv("PAYSAGA_OFFER_TERMS__PLATFORM_FEE_RETURNED", "true")
    monkeypatch.setenv("PAYSAGA_OFFER_TERMS__ACCEPT_WITHIN", "3600")
    monkeypatch.setenv("PAYSAGA_RETURN_HOSTS", '["app.example.com", "example.org"]')

    read = Settings()

    assert [secret.get_secret_value() for secret in read.stripe_webhook_secrets] == ["whsec_new", "whsec_old"]
    assert read.stripe_connect_webhook_secrets == ()
    assert read.pacing.http_timeout == 5.0
    assert read.deposit_bounds == {"usd": Bounds(smallest=500)}
    assert read.withdrawal_bounds == {"usd": Bounds(smallest=500, largest=600)}
    assert read.return_hosts == ("app.example.com", "example.org")
    assert read.offer_bounds == {"jpy": Bounds(smallest=7)}
    terms = read.offer_terms
    assert [terms.platform_fee.rate(code) for code in ("usd", "jpy")] == [300, 0]
    assert (terms.service_fee.rate("usd"), terms.platform_fee_returned) == (1_000, True)
    assert (terms.accept_within, terms.complete_within) == (HOUR, OfferTerms().complete_within)


def test_nobody_is_sent_anywhere_unless_somebody_says_where() -> None:
    assert settings().return_hosts == ()


@pytest.mark.parametrize(
    "host",
    ["", " ", "https://app.example.com", "app.example.com/", "app.example.com:443", "app.example.com\n", "a@b.com"],
)
def test_a_host_is_a_name_and_no_url(host: str) -> None:
    """It would be compared with a URL's host, and never be the same."""
    assert settings(return_hosts=["App.example.com", "localhost"]).return_hosts == ("App.example.com", "localhost")
    with pytest.raises(ValidationError, match="return_hosts"):
        settings(return_hosts=[host])


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({})

    assert {str(error["loc"][0]) for error in refused.value.errors()} == {"DATABASE_URL", "STRIPE_SECRET_KEY"}


# ── Secrets ──


def test_no_secret_is_in_what_is_printed() -> None:
    told = settings(
        temporal_api_key="hush",
        stripe_webhook_secrets="whsec_hush",
        stripe_connect_webhook_secrets="whsec_hush",
        jwt_secret="hush" * 8,
    )

    assert "hush" not in f"{told!r} {told} {told.model_dump()} {told.model_dump_json()}"


def test_no_secret_is_in_the_error_about_it() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(stripe_secret_key="sk_live_hush", jwt_secret="hush")

    assert "hush" not in str(refused.value)
