"""Which broker a URL means, and the library that speaks to it: an extra of each."""

from collections.abc import Awaitable, Callable

from edc.bus import Bus
from edc.bus.settings import BusSettings, address
from edc.errors import ConfigError


async def _nobody(_since: int) -> None:
    """Who has no ledger."""


def connect(
    settings: BusSettings,
    consumer: str,
    on_forgotten: Callable[[int], Awaitable[None]] = _nobody,
) -> Bus:
    """The bus of the settings, not yet open. Raises ConfigError.

    `consumer` names this process to the broker. `on_forgotten` is called where the broker has no
    more what it had confirmed since a moment (ns), as far as it can be known: with Kafka, which
    numbers its messages. May raise OSError, to be called again.
    """
    where = address(settings)
    try:
        match where.scheme:
            case "redis":
                from edc.bus.redis import RedisBus  # noqa: PLC0415 - an extra

                return RedisBus(where, settings, consumer)
            case "nats":
                from edc.bus.nats import NatsBus  # noqa: PLC0415 - an extra

                return NatsBus(where, settings, consumer)
            case "amqp":
                from edc.bus.rabbitmq import RabbitBus  # noqa: PLC0415 - an extra

                return RabbitBus(where, settings, consumer)
            case _:
                from edc.bus.kafka import KafkaBus  # noqa: PLC0415 - an extra

                return KafkaBus(where, settings, consumer, on_forgotten)
    except ModuleNotFoundError as error:
        raise ConfigError(
            "[bus] url",
            f"the library for {where.scheme} is not installed: {error}",
            f"pip install 'edc[{where.scheme}]'",
        ) from None
