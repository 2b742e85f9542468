"""The topics of a bus on Kafka: there, made, or refused with the command that makes them."""

from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from edc.bus import DEAD
from edc.bus.settings import Address, BusSettings
from edc.errors import ConfigError
from edc.events import EVENT_TYPES


def topic(settings: BusSettings, kind: str) -> str:
    """The name of the topic of an event type, or of the dead."""
    return f"{settings.prefix}.{kind}"


async def make_topics(admin: Any, where: Address, settings: BusSettings) -> None:
    """All topics are there when this returns. Raises ConfigError, and what the library does."""
    wanted = {topic(settings, kind): settings.partitions for kind in EVENT_TYPES}
    wanted[topic(settings, DEAD)] = 1
    present = set(await admin.list_topics())
    missing = [name for name in wanted if name not in present]
    config = {"retention.ms": str(int(settings.retention * 1000))}
    if missing and not settings.create:
        host, port = where.hosts[0]
        raise ConfigError(
            "[bus]",
            f"{where.name} has no topic {missing[0]}, and create is false",
            f"make it: kafka-topics.sh --bootstrap-server {host}:{port} --create --topic"
            f" {missing[0]} --partitions {wanted[missing[0]]} --config"
            f" retention.ms={config['retention.ms']}",
        )
    made = [
        NewTopic(name, wanted[name], settings.replicas or 1, topic_configs=config)
        for name in missing
    ]
    if made:
        answer = await admin.create_topics(made)
        for name, code, *_ in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise ConfigError(
                    "[bus]",
                    f"{where.name} does not make the topic {name}: {error.__name__}",
                    "make it yourself, or let the user do it",
                )
    for known in await admin.describe_topics(list(wanted)):
        counted = len(known["partitions"])
        if counted != wanted.get(known["topic"], counted):
            raise ConfigError(
                "[bus] partitions",
                f"the topic {known['topic']} has {counted}",
                f"write partitions = {counted}, or take another prefix",
            )
