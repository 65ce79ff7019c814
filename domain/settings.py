"""What a deployment sets, read from the environment once, by the process that starts.

Names that other tools share are theirs (`DATABASE_URL`, `TEMPORAL_ADDRESS`, `STRIPE_SECRET_KEY`); the rest begin
with `PAYSAGA_`. Nested values use two underscores (`PAYSAGA_PACING__HTTP_TIMEOUT=5`), lists are JSON.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.money import CurrencyCode
from domain.offers import OfferTerms
from domain.pacing import Pacing


class Mode(StrEnum):
    """What the deployment may be used for."""

    DEVELOPMENT = "development"
    """A laptop or a test: development tokens, a clock that can be moved."""
    STAGING = "staging"
    """Production's rules with Stripe's test keys."""
    LIVE = "live"
    """Real money."""


class Bounds(BaseModel):
    """The smallest and largest amount of one currency, in minor units, both allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest: int = Field(gt=0)
    largest: int = Field(default=99_999_999, gt=0, le=99_999_999)

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError("the smallest amount must not be larger than the largest")
        return self


DEFAULT_DEPOSIT_BOUNDS = {
    "eur": Bounds(smallest=1_000),
    "gbp": Bounds(smallest=1_000),
    "jpy": Bounds(smallest=1_000),
    "kwd": Bounds(smallest=10_000),
    "usd": Bounds(smallest=1_000),
}
"""A deposit starts at ten units (a thousand yen). Its keys are the currencies in which a wallet can be held."""

DEFAULT_WITHDRAWAL_BOUNDS = {
    "eur": Bounds(smallest=1_000, largest=1_000_000),
    "gbp": Bounds(smallest=1_000, largest=1_000_000),
    "jpy": Bounds(smallest=1_000, largest=1_000_000),
    "kwd": Bounds(smallest=10_000, largest=10_000_000),
    "usd": Bounds(smallest=1_000, largest=1_000_000),
}
"""From ten units to ten thousand (in yen from a thousand to a million)."""


DEFAULT_OFFER_BOUNDS = DEFAULT_DEPOSIT_BOUNDS
"""An offer's amount, without the platform's fee."""


DEFAULT_APPROVAL_LIMITS: dict[CurrencyCode, int] = {
    "eur": 100_000,
    "gbp": 100_000,
    "jpy": 100_000,
    "kwd": 1_000_000,
    "usd": 100_000,
}
"""A thousand units (a hundred thousand yen)."""


Host = Annotated[str, StringConstraints(pattern=r"^[^\s/:@?#]+$")]
"""A host's name alone: with a scheme, a port or a path it would be no URL's host, and nothing would say so."""


def _shared(name: str) -> AliasChoices:
    return AliasChoices(name)


class Settings(BaseSettings):
    """One deployment. Raises `pydantic.ValidationError` on a value that cannot be meant."""

    model_config = SettingsConfigDict(
        env_prefix="PAYSAGA_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        # What was set wrongly is often a secret, and errors are printed.
        hide_input_in_errors=True,
    )

    mode: Mode = Mode.DEVELOPMENT

    database_url: SecretStr = Field(validation_alias=_shared("DATABASE_URL"))
    """`postgresql://user:password@host:port/name?sslmode=…`, as libpq writes it."""
    database_pool: int = Field(default=10, ge=1)

    temporal_address: str = Field(default="127.0.0.1:7233", validation_alias=_shared("TEMPORAL_ADDRESS"))
    temporal_namespace: str = Field(default="paysaga", validation_alias=_shared("TEMPORAL_NAMESPACE"))
    temporal_tls: bool = Field(default=False, validation_alias=_shared("TEMPORAL_TLS"))
    temporal_tls_ca_file: FilePath | None = Field(default=None, validation_alias=_shared("TEMPORAL_TLS_CA_FILE"))
    """A PEM file of the authority that signed the server's certificate; without it the system's are trusted."""
    temporal_api_key: SecretStr | None = Field(default=None, validation_alias=_shared("TEMPORAL_API_KEY"))
    task_queue: str = "paysaga"

    stripe_secret_key: SecretStr = Field(validation_alias=_shared("STRIPE_SECRET_KEY"))
    stripe_api_base: str = Field(default="https://api.stripe.com", validation_alias=_shared("STRIPE_API_BASE"))
    stripe_breaker_failures: int = Field(default=5, ge=1)
    """Calls in a row that Stripe's endpoints for one kind of object leave unanswered before a worker sends no more."""
    stripe_breaker_pause: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds until one of them is sent to find out whether Stripe answers again. Shorter than the activity tier takes
    altogether (about 7): so a saga that tries again finds out before it is put off."""
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), validation_alias=_shared("STRIPE_WEBHOOK_SECRETS")
    )
    """Signing secrets of the platform's webhook endpoint, comma separated. Several, so that one can be rotated;
    none, and the endpoint is disabled."""
    stripe_connect_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), validation_alias=_shared("STRIPE_CONNECT_WEBHOOK_SECRETS")
    )
    """The same for the endpoint that hears of connected accounts."""

    api_host: str = "127.0.0.1"
    api_port: int = 8000
    answer_within: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Seconds a request waits for its saga's first answer before it is told 202."""

    jwt_secret: SecretStr | None = None
    """Development only: the key of HS256 tokens, at least 32 bytes."""
    jwt_public_key: str | None = None
    """PEM of the key that signs tokens (RS256, ES256 or EdDSA)."""
    jwt_issuer: str = "paysaga"
    jwt_audience: str = "paysaga"

    deposit_bounds: dict[CurrencyCode, Bounds] = DEFAULT_DEPOSIT_BOUNDS
    withdrawal_bounds: dict[CurrencyCode, Bounds] = DEFAULT_WITHDRAWAL_BOUNDS
    offer_bounds: dict[CurrencyCode, Bounds] = DEFAULT_OFFER_BOUNDS
    offer_terms: OfferTerms = OfferTerms()
    """What new offers are made under: fees and waits."""
    approval_limits: dict[CurrencyCode, Annotated[int, Field(ge=0)]] = DEFAULT_APPROVAL_LIMITS
    """Minor units: above them two admins must agree before an operator adopts, compensates or writes off. In a
    currency that is not named, always."""
    earnings_hold: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds for which what an offer released to a wallet cannot be withdrawn."""
    payout_days: int = Field(default=3, ge=0)
    """Days that a payout is estimated to take before Stripe has said so."""
    return_hosts: tuple[Host, ...] = ()
    """Hosts that Stripe's pages may send a contractor back to (`["app.example.com"]`), by HTTPS. In development this
    machine is allowed besides, by HTTP."""
    pacing: Pacing = Pacing()
    sweep_every: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds between two sweeps for operations not started and events not processed."""
    sweep_older_than: float = Field(default=15.0, ge=0, allow_inf_nan=False)
    """Seconds that the ordinary path has before a sweep steps in."""
    catch_up_every: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Seconds between two looks at Stripe's Events API for what no webhook brought."""
    catch_up_older_than: float = Field(default=120.0, ge=0, allow_inf_nan=False)
    """Seconds that an event has to come by itself before it is read there."""
    sticky_timeout: float = Field(default=5.0, gt=0)
    """Seconds that a saga's next task waits for the worker that has the saga in memory, which may have died, before any
    other takes it."""
    temporal_retention_days: int = Field(default=30, ge=1)

    @field_validator("stripe_webhook_secrets", "stripe_connect_webhook_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        key = self.stripe_secret_key.get_secret_value()
        if self.mode is Mode.LIVE and not key.startswith(("sk_live_", "rk_live_")):
            raise ValueError("PAYSAGA_MODE=live needs a live STRIPE_SECRET_KEY")
        if self.mode is not Mode.LIVE and not key.startswith(("sk_test_", "rk_test_")):
            raise ValueError(f"PAYSAGA_MODE={self.mode} needs a test STRIPE_SECRET_KEY: it must never move real money")
        if self.jwt_secret is not None:
            if self.mode is not Mode.DEVELOPMENT:
                raise ValueError("PAYSAGA_JWT_SECRET is for development: set PAYSAGA_JWT_PUBLIC_KEY")
            if len(self.jwt_secret.get_secret_value()) < 32:
                raise ValueError("PAYSAGA_JWT_SECRET needs at least 32 characters")
        if self.mode is not Mode.DEVELOPMENT and self.jwt_public_key is None:
            raise ValueError(f"PAYSAGA_MODE={self.mode} needs PAYSAGA_JWT_PUBLIC_KEY: no token could be trusted")
        if self.pacing.http_timeout >= self.pacing.start_to_close:
            raise ValueError("PAYSAGA_PACING__HTTP_TIMEOUT must be shorter than PAYSAGA_PACING__START_TO_CLOSE")
        return self

    @property
    def livemode(self) -> bool:
        """Whether Stripe's objects and events must say `livemode: true`."""
        return self.mode is Mode.LIVE
