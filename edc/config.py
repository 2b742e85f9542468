"""From config.toml, `.env` and the environment to frozen settings, or to an error with its mend.

An `EDC_` variable overrides the file: `EDC_STORAGE__PATH=/srv/lake`. Nothing here touches the
network or makes a folder.
"""

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from edc.errors import ConfigError
from edc.explain import DELIMITER, PREFIX, environment, explained, nearest
from edc.logs import redact
from edc.settings import AlertSettings, ServerSettings, Settings, long_enough

_SECRET = re.compile("key|secret|token|password|sas|credential", re.IGNORECASE)
"""In the names of options whose values appear nowhere."""
_TOKEN, _ALERTS = "edc_server_token", "edc_alerts_secret"
"""Systemd credentials."""
_HIDDEN = 8
"""Characters from which a part of an address may be a secret: "/alerts" is none."""


def load(path: Path | None) -> Settings:
    """Read and check the settings, feeds apart; None means no file. Raises ConfigError."""
    if path is not None:
        _check_toml(path)
    place = str(path or "environment")
    _check_variables(environment(place))

    class Loaded(Settings):
        model_config = SettingsConfigDict(
            env_file=(path or Path()).parent / ".env",
            dotenv_filtering="match_prefix",
            toml_file=path,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls)

    try:
        settings: Settings = Loaded()
    except ValidationError as error:
        raise explained(place, (), error, Settings) from None
    except SettingsError as error:  # it names the field in double quotes, and the value nowhere
        section = str(error).split('"')[1]
        name = f"{PREFIX}{section.upper()}"
        key = "NAME__KEY" if section in ("vendors", "feeds") else "KEY"
        mend = f"{name}{DELIMITER}{key} sets one value, {name} a table as JSON"
        raise ConfigError(name, "the value is no table", mend) from None
    redact.add([value for name, value in settings.storage.secrets.items() if _SECRET.search(name)])
    known = {"server": _server(place, settings.server), "alerts": _alerts(settings.alerts)}
    settings = settings.model_copy(update=known)
    for options in settings.vendors.values():
        for name in ("api_key", "api_secret"):
            redact.add([str(options[name])] if options.get(name) else [])
    return settings


def _server(place: str, server: ServerSettings) -> ServerSettings:
    """With the token of the systemd credential, where none is set. Raises ConfigError."""
    if not server.token and (given := _credential(_TOKEN)) is not None:
        try:
            token = long_enough(given)
        except ValueError as error:
            raise ConfigError(f"systemd credential {_TOKEN}", str(error), "") from None
        server = server.model_copy(update={"token": token})
    redact.add([server.secret] if server.secret else [])
    if not (server.local or server.token):
        raise ConfigError(
            f"{place}: [server] listen",
            f"{server.listen} can be reached from other machines, and there is no token",
            "set EDC_SERVER__TOKEN to what `openssl rand -hex 24` says, or listen on 127.0.0.1",
        )
    return server


def _alerts(alerts: AlertSettings) -> AlertSettings:
    """With the secret of the systemd credential, where none is set. Raises ConfigError."""
    if not alerts.secret and (given := _credential(_ALERTS)) is not None:
        alerts = alerts.model_copy(update={"secret": given})
    url = urlsplit(alerts.address)
    path = url.path + (f"?{url.query}" if url.query else "")
    hidden = (alerts.signs_with, alerts.address, url.password or "", path)
    redact.add([each for each in hidden if len(each) >= _HIDDEN])
    return alerts


def _credential(name: str) -> SecretStr | None:
    """What systemd has been told to hand over; None where there is none. Raises ConfigError."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / name if folder else None
    if credential is None or not credential.exists():
        return None
    try:
        return SecretStr(credential.read_text().strip())
    except (OSError, ValueError) as error:
        raise ConfigError(f"systemd credential {name}", str(error), "") from None


def _check_toml(path: Path) -> None:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(
            str(path), "there is no such file", "name one with --config, or try `edc run --demo`"
        ) from None
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror or error}", "name another with --config"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            str(path), f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8"
        ) from None
    if text.startswith("\ufeff"):
        raise ConfigError(
            str(path), "begins with a byte order mark", "save the file as UTF-8 without one"
        )
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            str(path), f"is not valid TOML: {error}", 'text is written in quotes, key = "text"'
        ) from None


def _check_variables(variables: Iterable[str]) -> None:
    """Refuse `EDC_STORGE__PATH`: pydantic-settings would overlook it."""
    for variable in variables:
        section, delimiter, _ = variable.upper().removeprefix(PREFIX).lower().partition(DELIMITER)
        ours = variable.upper().startswith(PREFIX) and delimiter
        if ours and section not in Settings.model_fields:
            raise ConfigError(
                variable,
                f"there is no section {section!r}",
                nearest(section, Settings.model_fields, "sections"),
            )
