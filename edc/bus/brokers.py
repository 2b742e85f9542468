"""Which broker a URL means, and the library that speaks to it: an extra of each."""

from edc.bus import Bus
from edc.bus.settings import BusSettings, address
from edc.errors import ConfigError

_EXTRAS = {"redis": "redis", "nats": "nats", "amqp": "amqp", "kafka": "kafka"}


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
            case _:
                raise ConfigError("[bus] url", f"there is no bus {where.scheme!r}")
    except ModuleNotFoundError as error:
        extra = _EXTRAS[where.scheme]
        raise ConfigError(
            "[bus] url", f"{where.scheme} is not installed: {error}", f"pip install 'edc[{extra}]'"
        ) from None
