"""Wrong settings are told by the names of their variables, without their values."""

import pytest

from cli.settings import settings_from
from cli.stack.errors import BadSettings

GOOD = {"DATABASE_URL": "postgresql://u:geheim@h/d", "STRIPE_SECRET_KEY": "sk_test_1"}


def test_settings_come_from_the_given_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_API_PORT", "1")

    settings = settings_from(GOOD | {"PAYSAGA_PACING__POLLS": "[0.5, 1]", "STRIPE_WEBHOOK_SECRETS": "a, b"})

    assert settings.api_port == 8000
    assert settings.pacing.polls == (0.5, 1.0)
    assert [secret.get_secret_value() for secret in settings.stripe_webhook_secrets] == ["a", "b"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"STRIPE_SECRET_KEY": "sk_test_1"}, "DATABASE_URL is missing: set it"),
        (GOOD | {"PAYSAGA_API_PORT": "http"}, "PAYSAGA_API_PORT: Input should be a valid integer"),
        (GOOD | {"PAYSAGA_PACING__HTTP_TIMEOUT": "-1"}, "PAYSAGA_PACING__HTTP_TIMEOUT: Input should be greater than 0"),
        (GOOD | {"PAYSAGA_PACING": "{"}, "A setting in the environment cannot be read .* nested values are JSON"),
        (GOOD | {"PAYSAGA_MODE": "live"}, "PAYSAGA_MODE=live needs a live STRIPE_SECRET_KEY"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], said: str) -> None:
    with pytest.raises(BadSettings, match=said) as caught:
        settings_from(environment)

    assert "geheim" not in str(caught.value)
    assert caught.value.exit_code == 2
