"""The bus sink: where a collector's batches go. Confirmed by the broker is durable."""

import asyncio

import polars as pl

from edc.bus import Bus, BusStats
from edc.bus.messages import encode
from edc.bus.settings import Encoding
from edc.errors import BusDown, ConfigError
from edc.sinks import Written


class BusSink:
    """Publishes batches. `attach` it to the loop of the bus; `write` runs in other threads."""

    def __init__(
        self, bus: Bus, stats: BusStats, *, instance: str, encoding: Encoding, partitions: int
    ) -> None:
        self._bus, self._stats = bus, stats
        self._instance, self._encoding, self._partitions = instance, encoding, partitions
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self) -> None:
        """Publish on the present event loop."""
        self._loop = asyncio.get_running_loop()

    def write(self, event_type: str, rows: pl.DataFrame, chunks: str) -> Written:
        """All rows are confirmed when this returns. Raises BusDown, an OSError."""
        assert self._loop is not None
        messages = encode(
            event_type,
            rows,
            chunks=f"{self._instance}/{chunks}",
            encoding=self._encoding,
            partitions=self._partitions,
        )
        topic = self._stats.of(event_type)
        topic.unconfirmed = len(messages)
        publishing = asyncio.run_coroutine_threadsafe(self._bus.publish(messages), self._loop)
        try:
            publishing.result()
        except ConfigError as error:  # it was right when we began: it may be again
            self._stats.errors["refused"] += 1
            self._stats.problem = str(error)
            raise BusDown(self._stats.name, f"{error.problem}; {error.mend}") from error
        except OSError as error:
            self._stats.errors["publish"] += 1
            self._stats.problem = str(error)
            raise
        self._stats.problem = ""
        topic.unconfirmed = 0
        topic.published += len(messages)
        topic.rows += rows.height
        return Written(rows=rows.height, size=sum(len(each.data) for each in messages))
