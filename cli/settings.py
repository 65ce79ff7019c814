"""Settings read from any environment, and their errors as one sentence for the person who set them."""

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsError

from cli.stack.errors import BadSettings
from domain.settings import Settings


def settings_from(environment: Mapping[str, str]) -> Settings:
    """What a process with this environment would read. Raises `BadSettings`."""

    class Given(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            source = EnvSettingsSource(settings_cls)
            source.env_vars = {name.lower(): value for name, value in environment.items()}
            return (source,)

    try:
        return Given()
    except ValidationError as error:
        raise BadSettings(_sentence(error)) from error
    except SettingsError as error:
        raise BadSettings(f"A setting in the environment cannot be read ({error}): nested values are JSON.") from error


def _sentence(error: ValidationError) -> str:
    """Names every wrong variable. Never its value: it may be a secret."""
    wrong = []
    for problem in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in problem["loc"]]
        if not place:
            wrong.append(problem["msg"].removeprefix("Value error, "))
            continue
        variable = place[0] if place[0].isupper() else "PAYSAGA_" + "__".join(place).upper()
        if problem["type"] == "missing":
            wrong.append(f"{variable} is missing: set it, or use `paysaga up`, which sets it for its processes")
        else:
            wrong.append(f"{variable}: {problem['msg'].removeprefix('Value error, ')}")
    return "The settings in the environment cannot be used. " + "; ".join(wrong) + "."
