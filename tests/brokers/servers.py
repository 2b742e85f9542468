"""Brokers that a test starts, kills and starts again, each on a free port and in its own folder.

Debian's packages `redis-server`, `nats-server` and `rabbitmq-server`; a broker that speaks Kafka's
protocol comes from PyPI, into an environment of its own. One that is not installed is skipped with
its name, or fails where `EDC_REQUIRE_BROKERS=1` says that it must be there.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from tests.brokers import environment
from tests.brokers.door import Door, kafka_proxy
from tests.torture.proxy import Proxy

REQUIRED = os.environ.get("EDC_REQUIRE_BROKERS") == "1"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Broker(ABC):
    """A server in a process of its own, which keeps its data in `folder` over restarts."""

    name = ""
    package = ""
    program = ""
    starts_within = 30.0
    ends_within = 30.0
    lossy = False
    """It forgets what it has confirmed when it is killed, so that it is told to end instead."""
    more: ClassVar[dict[str, Any]] = {}
    """Keys of `[bus]` without which it will not do."""

    def __init__(self, folder: Path, *, small: bool = False) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.small = small
        """Of little room, so that it is soon full."""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be started here; empty where it can."""
        return "" if shutil.which(cls.program) else f"{cls.program}: apt-get install {cls.package}"

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it in the foreground."""

    def environment(self) -> dict[str, str]:
        """What its process finds in the environment."""
        return dict(os.environ)

    def url_at(self, port: int) -> str:
        """For `[bus] url`, by a port of this machine."""
        return f"{self.name}://127.0.0.1:{port}"

    @property
    def url(self) -> str:
        """For `[bus] url`."""
        return self.url_at(self.port)

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process is not None
        return self._process.pid

    def proxy(self) -> Proxy:
        """A way to the broker that can be cut."""
        return Proxy(self.port)

    def start(self) -> None:
        """Returns once it listens."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + self.starts_within
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.02)

    def ready(self) -> bool:
        """True once it takes connections."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.listens_at()), 1),
        ):
            return True
        return False

    def listens_at(self) -> int:
        """The port of the process itself."""
        return self.port

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, and all that it has started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        self._process.wait(self.ends_within)
        self._process = None

    def kill(self) -> None:
        """As the kernel would for want of memory."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """It is there and does not answer, until `thaw`."""
        os.killpg(self.pid, signal.SIGSTOP)
        while not all(
            " T " in stat.read_text() for stat in Path(f"/proc/{self.pid}/task").glob("*/stat")
        ):
            time.sleep(0.001)  # a thread that runs on another processor stops a moment later

    def thaw(self) -> None:
        """It answers again."""
        os.killpg(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError, AssertionError):
            self.thaw()
        self.kill()


class RedisBroker(Broker):
    """Redis with an append-only file, fsynced with each write."""

    name, package, program = "redis", "redis-server", "redis-server"

    def command(self) -> list[str]:
        return [
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always"),
            *("--save", "", "--maxmemory-policy", "noeviction"),
            *(("--maxmemory", "6mb") if self.small else ()),
        ]

    def ready(self) -> bool:
        """It listens while it still loads its file, and answers LOADING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class NatsBroker(Broker):
    """NATS with JetStream on disk."""

    name, package, program = "nats", "nats-server", "nats-server"

    def command(self) -> list[str]:
        config = self.folder / "nats.conf"
        config.write_text(
            f"""
listen: "127.0.0.1:{self.port}"
jetstream {{ store_dir: "{self.folder}", max_file_store: 20GB, max_memory_store: 64MB }}
"""
        )
        return ["nats-server", "-c", str(config)]


class RabbitBroker(Broker):
    """RabbitMQ, a node of its own name."""

    name, package, program = "amqp", "rabbitmq-server", "rabbitmq-server"
    starts_within = 90.0
    _SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one on the path changes the user

    def __init__(self, folder: Path, *, small: bool = False) -> None:
        super().__init__(folder, small=small)
        self._dist_port = free_port()

    @classmethod
    def missing(cls) -> str:
        return "" if Path(cls._SERVER).exists() else super().missing() or f"no {cls._SERVER}"

    def command(self) -> list[str]:
        (self.folder / "plugins").write_text("[].\n")
        low = "vm_memory_high_watermark.absolute = 1MB\n" if self.small else ""
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndisk_free_limit.absolute = 10MB\n{low}"
        )
        return [self._SERVER]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"edc{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }

    def ready(self) -> bool:
        """It greets with its own protocol's header where it does not know the client's."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                line.sendall(b"AMQP\x00\x00\x00\x00")
                return line.recv(8).startswith(b"AMQP")
        except OSError:
            return False


class KafkaBroker(Broker):
    """noida-db, which speaks Kafka's protocol: all of a producer and a group, but no eviction.

    It saves what it has when it is told to end, so it is restarted and not killed; and as it goes
    on confirming while it saves, which it forgets, it is behind a door that is shut before. It
    keeps the place of a member that has died for ever, so a store has to come back under its own
    name.
    """

    name = "kafka"
    lossy = True
    ends_within = 120.0

    def __init__(self, folder: Path, *, small: bool = False) -> None:
        super().__init__(folder, small=small)
        self._inner = free_port()
        self._door: Door | None = None

    @classmethod
    def missing(cls) -> str:
        return "" if environment.installed() else "Kafka: python -m tests.brokers.environment"

    def proxy(self) -> Proxy:
        return kafka_proxy(self.port)

    def command(self) -> list[str]:
        data = ("--data-dir", str(self.folder / "data"))
        only = ("--only", "kafka", "--kafka-port", str(self._inner))
        return [environment.noida(), "start", *data, *only]

    def listens_at(self) -> int:
        return self._inner

    def start(self) -> None:
        super().start()
        if self._door is None:
            self._door = Door(kafka_proxy(self._inner))
            self.port = self._door.port
        self._door.open()

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._door is not None:
            self._door.shut()
        super().stop(number)

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if self._door is not None:
            self._door.remove()


BROKERS: dict[str, type[Broker]] = {
    kind.name: kind for kind in (RedisBroker, NatsBroker, RabbitBroker, KafkaBroker)
}


def need(name: str) -> type[Broker]:
    """The broker of a name; see `there`."""
    kind = BROKERS[name]
    there(kind)
    return kind


def there(kind: type[Broker]) -> None:
    """Where it is not, the test is skipped, with one line that says how to have it."""
    if problem := kind.missing():
        if REQUIRED:
            raise AssertionError(problem)
        pytest.skip(f"no broker, {problem}")
