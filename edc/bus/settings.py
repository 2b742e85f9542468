"""`[bus]`: which broker stands between collectors and stores, and what is made on it.

The URL is `scheme://[user:password@]host[:port][,host…][/path]`: `kafka`, `amqp` (RabbitMQ; the
path is the virtual host), `redis` (the path is the database) or `nats`; an `s` at the end
(`rediss`, `amqps`, `kafkas`, `natss`) asks for TLS. Password and URL are secrets: the password may
come from a file or from the systemd credential `bus_password` as well.
"""

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import ByteSize, Field, SecretStr

from edc.errors import ConfigError
from edc.logs import redact
from edc.options import Duration, Strict

SCHEMES = {"kafka": 9092, "amqp": 5672, "redis": 6379, "nats": 4222}
"""With the port of each, where the URL names none."""
TLS_PORTS = {"kafka": 9092, "amqp": 5671, "redis": 6379, "nats": 4222}

_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<hosts>[^/@?#]+)(?:/(?P<path>[^?#]*))?"
)
_MEND = (
    'write one like "redis://127.0.0.1:6379", "amqp://host", "nats://host:4222" or '
    '"kafka://host:9092,other:9092"'
)

Encoding = Literal["arrow", "json"]


class BusSettings(Strict):
    """`[bus]`; without a URL there is none."""

    url: SecretStr = SecretStr("")
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    prefix: str = Field("edc", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    partitions: int = Field(4, ge=1, le=256)
    group: str = Field("edc", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    encoding: Encoding = "arrow"
    create: bool = True
    retention: Duration = Field(604_800.0, ge=60)
    max_bytes: ByteSize = Field(ByteSize(2_147_483_648), ge=1_048_576)
    replicas: int = Field(0, ge=0)
    timeout: Duration = Field(10.0, ge=0.1)
    options: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is and who asks; `name` may be shown to anybody."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    username: str | None
    password: str | None
    tls: bool

    @property
    def name(self) -> str:
        """The URL without its secrets."""
        return f"{self.scheme}://{','.join(f'{host}:{port}' for host, port in self.hosts)}"


def address(settings: BusSettings) -> Address:
    """What the URL and the keys beside it say; the redactor knows the secrets. ConfigError."""
    match = _URL.fullmatch(settings.url.get_secret_value())
    if match is None:
        raise ConfigError("[bus] url", "the value is no URL of a broker", _MEND)
    scheme, tls = match["scheme"], settings.tls
    if scheme not in SCHEMES and scheme.removesuffix("s") in SCHEMES:
        scheme, tls = scheme.removesuffix("s"), True
    if scheme not in SCHEMES:
        raise ConfigError("[bus] url", f"there is no bus {scheme!r}", _MEND)
    default = (TLS_PORTS if tls else SCHEMES)[scheme]
    password = unquote(match["password"]) if match["password"] else _password(settings)
    if password:
        redact.add([password])
    return Address(
        scheme,
        tuple(_host(each, default) for each in match["hosts"].split(",")),
        unquote(match["path"] or ""),
        unquote(match["user"] or "") or settings.username or None,
        password,
        tls,
    )


def _host(text: str, default: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:]+)(?::(\d{1,5}))?", text)
    if found is None:
        raise ConfigError("[bus] url", f"{text!r} is no host", _MEND)
    return found[1].strip("[]"), int(found[2] or default)


def _password(settings: BusSettings) -> str | None:
    """The first that is there of: the key, the file, the systemd credential."""
    if given := settings.password.get_secret_value():
        return given
    path = Path(settings.password_file) if settings.password_file else None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if path is None and credentials and (Path(credentials) / "bus_password").exists():
        path = Path(credentials) / "bus_password"
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            "[bus] password_file",
            f"{path} cannot be read: {problem}",
            "name a file that holds the password",
        ) from None


def tls_context(where: Address, settings: BusSettings) -> ssl.SSLContext | None:
    """Whom to trust and who we are; None without TLS. Raises ConfigError."""
    if not where.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            "[bus]",
            f"a certificate cannot be read: {error.strerror or error}",
            "check ca_file, cert_file and key_file",
        ) from None
    return context
