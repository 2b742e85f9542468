"""One answer out of those of several processes: status, flushes and metrics of a daemon's workers.

Feeds are told apart by their names, so theirs are put side by side; what is counted by table is
added up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Metrics = Collector
"""Whatever is asked for metrics at the moment of a scrape."""
_GREATEST = (
    *("_timestamp_seconds", "_info", "_up", "_degraded", "_recovery_duration_seconds"),
    "_reload_successful",
)
"""How families end of whose values the greatest is told, not the sum."""


def status(
    own: Mapping[str, Any],
    others: Mapping[int, Mapping[str, Any]],
    silent: Iterable[Mapping[str, Any]] = (),
) -> dict[str, object]:
    """The daemon's status with those of its workers, by their number, and `silent` feeds."""
    feeds = [*own["feeds"], *silent]
    tables = {kind: dict(row) for kind, row in own["tables"].items()}
    for number, other in others.items():
        feeds += [{**feed, "worker": number} for feed in other["feeds"]]
        for kind, row in other["tables"].items():
            tables[kind] = _row(tables[kind], row) if kind in tables else dict(row)
    return {**own, "feeds": feeds, "tables": tables}


def _row(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two rows of one table: numbers are added, of what was last the later is told."""
    later = other if (other["last_flush"] or 0) > (one["last_flush"] or 0) else one
    made: dict[str, Any] = {}
    for name, value in one.items():
        if name.startswith("last_"):
            made[name] = later[name]
        elif isinstance(value, dict):
            made[name] = {**value, **other[name]}
        elif isinstance(value, int | float) and isinstance(other[name], int | float):
            made[name] = value + other[name]
        else:
            made[name] = value
    return made


def flushed(answers: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """What all have flushed together, by table."""
    made: dict[str, Any] = {}
    for answer in answers:
        for kind, each in answer.items():
            row = made.setdefault(kind, {"rows": 0, "duplicates": 0, "files": []})
            row["rows"] += each["rows"]
            row["duplicates"] += each["duplicates"]
            row["files"] = [*row["files"], *each["files"]]
    return made


def told(metrics: Iterable[Metric]) -> list[dict[str, object]]:
    """Metrics as plain values; `families` reads them."""
    return [
        {
            "name": metric.name,
            "help": metric.documentation,
            "type": metric.type,
            "samples": [[sample.name, sample.labels, sample.value] for sample in metric.samples],
        }
        for metric in metrics
    ]


def families(
    own: Iterable[Metric], others: Iterable[Sequence[Mapping[str, Any]]]
) -> Iterator[Metric]:
    """Metrics of this process and of others, each family once."""
    made: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in [*told(own), *(family for other in others for family in other)]:
        name: Any = family["name"]
        made.setdefault(name, Metric(name, family["help"], family["type"]))
        known = values.setdefault(name, {})
        samples: Any = family["samples"]
        for sample, labels, value in samples:
            key = (sample, tuple(labels.items()))
            number = float("nan") if value is None else value
            if key not in known:
                known[key] = number
            elif name.endswith(_GREATEST):
                known[key] = max(known[key], number)
            else:
                known[key] += number
    for name, metric in made.items():
        for (sample, labels), value in values[name].items():
            metric.add_sample(sample, dict(labels), value)
        yield metric


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one worker; its metrics are those of `told`."""

    number: int
    up: bool
    restarts: int
    metrics: Sequence[Mapping[str, Any]]


class Together(Collector):
    """The metrics of a daemon and its workers."""

    def __init__(self, own: Collector, workers: Callable[[], Sequence[Told]]) -> None:
        self._own, self._workers = own, workers

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        workers = self._workers()
        yield from families(self._own.collect(), [each.metrics for each in workers])
        up = GaugeMetricFamily("edc_worker_up", "1 while it runs and answers.", labels=["worker"])
        restarts = CounterMetricFamily(
            "edc_worker_restarts", "Times that it was started again.", labels=["worker"]
        )
        for each in workers:
            up.add_metric([str(each.number)], float(each.up))
            restarts.add_metric([str(each.number)], each.restarts)
        yield from (up, restarts)
