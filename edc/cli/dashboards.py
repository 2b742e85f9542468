"""`edc dashboard`: what Prometheus and Grafana are given to watch edc with."""

import sys
from typing import Annotated

import typer

from edc import dashboards


def dashboard(
    what: Annotated[dashboards.Kind, typer.Argument(help="For whom the file is.")],
) -> None:
    """Print a Grafana dashboard, alert rules for Prometheus, or what makes it scrape edc.

    They know the metrics of this edc by name. Exits with 0, or with 2 for a name that is none.

    Examples:  edc dashboard grafana > edc.json   |   edc dashboard alerts > rules/edc.yml
    """
    sys.stdout.write(dashboards.text(what))
