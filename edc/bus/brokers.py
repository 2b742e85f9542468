"""Which broker a URL means, and the library that speaks to it: an extra of each."""

from edc.bus import Bus
from edc.bus.settings import BusSettings, address
from edc.errors import ConfigError


def connect(settings: BusSettings, consumer: str) -> Bus:
    """The bus of the settings, not yet open. Raises ConfigError.

    `consumer` names this process to the broker.
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

                return KafkaBus(where, settings, consumer)
    except ModuleNotFoundError as error:
        raise ConfigError(
            "[bus] url",
            f"the library for {where.scheme} is not installed: {error}",
            f"pip install 'edc[{where.scheme}]'",
        ) from None
