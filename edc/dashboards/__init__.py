"""What Prometheus and Grafana are given to watch edc with: files, printed by `edc dashboard`.

`grafana.json` is a dashboard for Grafana 10 or newer, `alerts.yml` alert rules, `prometheus.yml`
the part of Prometheus' own configuration that scrapes edc. Their metrics are those of
`edc.exposition`, which a test holds them to.
"""

from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What there is."""

    GRAFANA = "grafana"
    ALERTS = "alerts"
    PROMETHEUS = "prometheus"


_FILES = {
    Kind.GRAFANA: "grafana.json",
    Kind.ALERTS: "alerts.yml",
    Kind.PROMETHEUS: "prometheus.yml",
}


def text(kind: Kind) -> str:
    """The file, as it is to be given to them."""
    return (Path(__file__).parent / _FILES[kind]).read_text()
