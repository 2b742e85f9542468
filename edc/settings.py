"""The settings, section by section: what may be said in config.toml, and what it means.

What the sections of vendors and feeds say is checked by their adapters (plan.py). How the file and
the environment are read: config.py.
"""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, PlainValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from edc.bus.settings import BusSettings
from edc.events import EVENT_TYPES
from edc.explain import DELIMITER, PREFIX
from edc.options import Duration, Strict
from edc.queues import WhenFull
from edc.times import parse_duration

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Of instances, vendors and feeds."""
_SHORTEST_TOKEN = 16
_POLICED = ("trade", "quote", "ref_px")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"{name!r} is no time zone; write one of the IANA names, for example "
            '"America/New_York" or "UTC"'
        ) from None
    return name


def _named_folder(value: object) -> object:
    if value == "":
        raise ValueError('the value is empty; write a folder, like "data" or "."')
    return value


Folder = Annotated[Path, BeforeValidator(_named_folder), AfterValidator(Path.expanduser)]


def table_in_text(value: object) -> object:
    """A table that came in an environment variable, which holds it as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def list_in_text(value: object) -> object:
    """A list that came in an environment variable: as JSON, or its words with commas between."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return [word.strip() for word in value.split(",")]
    return value


AlertEvent = Literal["gap", "stale", "degraded", "disk", "dead_letters"]
ALERTS: tuple[AlertEvent, ...] = get_args(AlertEvent)
SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")


def _location(value: object) -> Path | str:
    """A folder, or the URL of an object store."""
    _named_folder(value)
    if not isinstance(value, (str, Path)):
        raise ValueError(f"{value!r} is no text; write it in quotes")  # noqa: TRY004 - as above
    scheme, found, rest = str(value).partition("://")
    if not found:
        return Path(value).expanduser()
    if scheme not in SCHEMES or not rest.strip("/"):
        raise ValueError(
            f"{str(value)!r} is no place for a lake; write a folder, or s3://bucket/prefix,"
            " gs://bucket/prefix or az://container/prefix"
        )
    return str(value).rstrip("/")


Location = Annotated[Path | str, PlainValidator(_location)]
"""A folder as a Path, an object store's URL as text."""


def _days_by_event_type(value: object) -> object:
    """One number of days is short for the same for each table, and "for ever" for none."""
    value = table_in_text(value)
    if value == "for ever":
        return {}
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)  # it came in an environment variable
    if isinstance(value, int) and not isinstance(value, bool):
        return dict.fromkeys(EVENT_TYPES, value)
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic explains no other
            'write a number of days, "for ever", or days by event type, like { quote = 30 }'
        )
    return value


KeepDays = Annotated[
    dict[Literal["trade", "quote", "ref_px", "gap"], Annotated[int, Field(ge=1)]],
    BeforeValidator(_days_by_event_type),
    NoDecode,
]
"""Days by event type; what is not named is kept for ever."""


class StorageSettings(Strict):
    """`[storage]`: where the lake is and how its files are named.

    `local` is the folder of what has to be on a disk, `home` that or the lake's own.
    """

    path: Location = Path("data")
    local: Folder = Path("data")
    format: Literal["parquet", "delta"] = "parquet"
    options: Annotated[dict[str, SecretStr], BeforeValidator(table_in_text), NoDecode] = Field(
        default_factory=dict
    )
    timezone: Annotated[str, AfterValidator(_known_zone)] = "America/New_York"
    partition: Literal["hour", "day"] = "hour"
    instance: str = Field("main", pattern=NAME)
    keep_days: KeepDays = Field(default_factory=dict)
    reserve: Annotated[ByteSize, Field(ge=0)] = ByteSize(268_435_456)

    @property
    def home(self) -> Path:
        """The folder on a disk: of the lake, or where that is elsewhere, `local`."""
        return self.path if isinstance(self.path, Path) else self.local

    @property
    def secrets(self) -> dict[str, str]:
        """The options of the object store as it takes them."""
        return {name: value.get_secret_value() for name, value in self.options.items()}


class BatchSettings(Strict):
    """`[batch]`: when spooled rows become Parquet."""

    max_rows: int = Field(65_536, ge=1, le=10_000_000)
    max_age: Duration = Field(60.0, gt=0)


def _never(value: object) -> object:
    return None if value == "never" else parse_duration(value)


class CompactSettings(Strict):
    """`[compact]`: what `edc compact` leaves alone, and how often the daemon does the same.

    `every` is None for never.
    """

    closed_after: Duration = Field(3600.0, ge=0)
    every: Annotated[Annotated[float, Field(ge=1)] | None, BeforeValidator(_never)] = 3600.0


class BackfillSettings(Strict):
    """`[backfill]`: how old a gap may be to be filled from the vendor's REST; None for never."""

    within: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_never)] = 86_400.0


class SpoolSettings(Strict):
    """`[spool]`: how much a crash may cost."""

    interval: Duration = Field(0.2, ge=0.01, le=60)


def _by_event_type(value: object) -> object:
    """One policy for all event types is short for the same policy for each."""
    value = table_in_text(value)
    if isinstance(value, str) and value in set(WhenFull):
        return dict.fromkeys(_POLICED, value)
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic explains no other
            'write "block", "drop_oldest" or "drop_newest", or one of them by event type, like '
            '{ quote = "drop_oldest" }'
        )
    return value


class QueueSettings(Strict):
    """`[queue]`: how much may wait, and what happens beyond."""

    capacity: int = Field(65_536, ge=1)
    when_full: Annotated[
        dict[Literal["trade", "quote", "ref_px"], WhenFull],
        BeforeValidator(_by_event_type),
        NoDecode,
    ] = Field(default_factory=dict)

    def policy(self, event_type: str) -> WhenFull:
        """The choice for one event type; `block` where none was made, and for the ledger."""
        chosen = {str(name): choice for name, choice in self.when_full.items()}
        return chosen.get(event_type, WhenFull.BLOCK)


class TransportSettings(Strict):
    """`[transport]`: which libraries carry the feeds."""

    websocket: Literal["auto", "websockets", "picows"] = "auto"


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdigit() and int(port) < 65_536):  # noqa: PLR2004 - TCP's
        raise ValueError('write an address and a port, like "127.0.0.1:8480", or "" for none')
    return value


def long_enough(token: SecretStr) -> SecretStr:
    """The token. Raises ValueError where it could be guessed."""
    if 0 < len(token.get_secret_value()) < _SHORTEST_TOKEN:
        raise ValueError(
            f"the token is too short; write {_SHORTEST_TOKEN} characters or more, like those of "
            "`openssl rand -hex 24`"
        )
    return token


class WorkerSettings(Strict):
    """`[workers]`: how many processes record the feeds; one is the daemon alone."""

    count: int = Field(1, ge=1, le=64)


class ServerSettings(Strict):
    """`[server]`: where the page, metrics and health are served; `""` turns it off."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8480"
    token: Annotated[SecretStr, AfterValidator(long_enough)] = SecretStr("")

    @property
    def secret(self) -> str:
        """The token in the clear; empty where there is none."""
        return self.token.get_secret_value()

    @property
    def local(self) -> bool:
        """True where only this machine can reach the server."""
        host = self.listen.rpartition(":")[0].strip("[]")
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host in ("", "localhost")


def _posted_to(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if url and not fine:  # what it is may be a secret
        raise ValueError('write an address, like "https://example.org/alerts", or "" for none')
    return url


class AlertSettings(Strict):
    """`[alerts]`: where what is wrong is posted. Both URL and secret are told nobody.

    `stale_after` is how long a feed may be without data before that is an alert.
    """

    url: Annotated[SecretStr, AfterValidator(_posted_to)] = SecretStr("")
    secret: SecretStr = SecretStr("")
    events: Annotated[tuple[AlertEvent, ...], BeforeValidator(list_in_text), NoDecode] = ALERTS
    repeat_after: Duration = Field(3600.0, ge=1)
    stale_after: Duration = Field(30.0, ge=0)

    @property
    def address(self) -> str:
        """The URL in the clear; empty where there is none."""
        return self.url.get_secret_value()

    @property
    def signs_with(self) -> str:
        """The secret in the clear; empty where there is none."""
        return self.secret.get_secret_value()


class LogSettings(Strict):
    """`[log]`: from which level on lines are written."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """The whole file. `vendors` and `feeds` are checked by their adapters, see plan.py."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True
    )

    storage: StorageSettings = StorageSettings()
    batch: BatchSettings = BatchSettings()
    compact: CompactSettings = CompactSettings()
    backfill: BackfillSettings = BackfillSettings()
    spool: SpoolSettings = SpoolSettings()
    queue: QueueSettings = QueueSettings()
    transport: TransportSettings = TransportSettings()
    server: ServerSettings = ServerSettings()
    workers: WorkerSettings = WorkerSettings()
    bus: BusSettings = BusSettings()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()
    vendors: dict[str, dict[str, Any]] = {}
    feeds: dict[str, dict[str, Any]] = {}
