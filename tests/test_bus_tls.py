"""Brokers that ask for TLS, a client's certificate and a password, as those of companies do."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from edc.errors import BusDown, ConfigError
from tests.brokers.servers import Broker, NatsBroker, RabbitBroker, RedisBroker, there
from tests.test_bus import SHARE, fetched, message, numbers, opened, read_share, settings

USER, WORD = "edc", "a-word-8f31"


class Secured(Broker):
    """A broker that speaks TLS only, with those whom its authority has certified."""

    user = USER

    def __init__(self, folder: Path, *, small: bool = False) -> None:
        super().__init__(folder, small=small)
        authority = trustme.CA()
        self.authority, self.own, self.ours = (
            self.folder / name for name in ("authority.pem", "server.pem", "client.pem")
        )
        authority.cert_pem.write_to_path(str(self.authority))
        for path, name in ((self.own, "localhost"), (self.ours, "collector")):
            authority.issue_cert(name, "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
                str(path)
            )

    def keys(self) -> dict[str, Any]:
        """What `[bus]` says to be let in."""
        return {
            "username": self.user,
            "password": WORD,
            "ca_file": str(self.authority),
            "cert_file": str(self.ours),
        }

    @property
    def url(self) -> str:
        """With the letter that asks for TLS."""
        return f"{self.name}s://localhost:{self.port}"

    def ready(self) -> bool:
        """True once it answers a handshake as what it is."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(str(self.ours))
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 1) as line,
                context.wrap_socket(line, server_hostname="localhost"),
            ):
                return True
        except OSError:
            return False


class SecuredRedis(Secured, RedisBroker):
    """Redis, with the only user that it has by itself."""

    user = "default"

    def command(self) -> list[str]:
        command = super().command()
        at = command.index("--port")
        command[at + 1] = "0"
        return [
            *command,
            *("--tls-port", str(self.port), "--tls-ca-cert-file", str(self.authority)),
            *("--tls-cert-file", str(self.own), "--tls-key-file", str(self.own)),
            *("--requirepass", WORD),
        ]


class SecuredNats(Secured, NatsBroker):
    """NATS, which greets in plain text and then asks for TLS."""

    def command(self) -> list[str]:
        command = super().command()
        config = Path(command[-1])
        config.write_text(
            config.read_text()
            + f"""
tls {{ cert_file: "{self.own}", key_file: "{self.own}", ca_file: "{self.authority}", verify: true }}
authorization {{ user: "{USER}", password: "{WORD}" }}
"""
        )
        return command

    def ready(self) -> bool:
        return Broker.ready(self)


class SecuredRabbit(Secured, RabbitBroker):
    """RabbitMQ, with a user of its own."""

    def command(self) -> list[str]:
        command = super().command()
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{self.port}\n"
            f"ssl_options.cacertfile = {self.authority}\nssl_options.certfile = {self.own}\n"
            f"ssl_options.keyfile = {self.own}\nssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\ndisk_free_limit.absolute = 10MB\n"
            f"default_user = {USER}\ndefault_pass = {WORD}\n"
        )
        return command


@pytest.fixture(params=[SecuredRedis, SecuredNats, SecuredRabbit], scope="module")
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """Each in turn."""
    kind: type[Secured] = request.param
    there(kind)
    with kind(tmp_path_factory.mktemp(kind.name)) as started:
        yield started


async def test_a_broker_that_wants_certificate_and_password_takes_and_gives(
    broker: Secured,
) -> None:
    async with opened(settings(broker.url, timeout="5s", **broker.keys())) as bus:
        await bus.publish([message(number) for number in range(3)])
        reader = await read_share(bus)
        found = await fetched(reader, 3)
        await reader.ack(found)

    assert numbers(found) == [0, 1, 2]


@pytest.mark.parametrize("without", ["ca_file", "cert_file"])
async def test_who_trusts_nobody_or_shows_nothing_gets_nowhere(
    broker: Secured, without: str
) -> None:
    keys = {**broker.keys(), without: ""}
    with pytest.raises((BusDown, ConfigError)) as caught:
        async with opened(settings(broker.url, timeout="5s", **keys)) as bus:
            await bus.publish([message(1, SHARE)])

    assert WORD not in str(caught.value)
    assert broker.name in str(caught.value)


async def test_a_wrong_password_is_told_with_its_mend(broker: Secured) -> None:
    keys = {**broker.keys(), "password": "another-word"}
    with pytest.raises(ConfigError) as caught:
        async with opened(settings(broker.url, timeout="5s", **keys)) as bus:
            await bus.publish([message(1, SHARE)])

    assert "check username and password" in str(caught.value)
