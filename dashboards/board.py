"""The few kinds of panel that the dashboards are made of, laid out in rows that fill the width.

Grafana's own builders know what a dashboard may say; what is said here is how ours look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)

OF_SERVICE: Final = 'namespace="$namespace", perch_dev_service="$service"'
"""Matches what was scraped or recorded of the service that is looked at."""

Panel: TypeAlias = "stat.Panel | timeseries.Panel"

_WIDTH: Final = 24
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="$prometheus")


@dataclass(frozen=True, slots=True)
class Row:
    """Panels beside each other, as wide as each other."""

    height: int
    panels: Sequence[Panel]


def number(title: str, about: str, query: str, unit: str = "short", legend: str = "") -> stat.Panel:
    """A figure as it stands now."""
    panel = stat.Panel().title(title).description(about).datasource(_SOURCE).unit(unit)
    panel = panel.color_mode(looks.BigValueColorMode.NONE).with_target(_query("A", query, legend))
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def name(title: str, about: str, query: str, legend: str) -> stat.Panel:
    """A word as it stands now: the legend of the one series that is there."""
    return number(title, about, query, legend=legend).text_mode(looks.BigValueTextMode.NAME)


def light(title: str, about: str, query: str) -> stat.Panel:
    """Green for 1, red for 0."""
    answers = {"0": ValueMappingResult(text="no"), "1": ValueMappingResult(text="yes")}
    return graded(number(title, about, query).mappings([ValueMap(options=answers)]), "red", (1, "green"))


def graded(panel: stat.Panel, least: str, *steps: tuple[float, str]) -> stat.Panel:
    """The figure on a colour: `least`, or that of the last step that it has reached."""
    told = [Threshold(color=least, value=None), *(Threshold(color=color, value=value) for value, color in steps)]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(told)
    return panel.thresholds(thresholds).color_mode(looks.BigValueColorMode.BACKGROUND)


def lines(
    title: str, about: str, *queries: tuple[str, str], unit: str = "short", least: float | None = 0
) -> timeseries.Panel:
    """Figures over time: each query with its legend."""
    panel = timeseries.Panel().title(title).description(about).datasource(_SOURCE).unit(unit)
    for letter, (query, legend) in zip("ABCDEF", queries, strict=False):
        panel = panel.with_target(_query(letter, query, legend))
    return panel if least is None else panel.min(least)


def board(
    uid: str, title: str, about: str, rows: Sequence[Row], variables: Sequence[tuple[str, str, str]] = ()
) -> dashboard.Dashboard:
    """A dashboard.

    Args:
        uid: By which links find it.
        title: Its name.
        about: What it is for.
        rows: Its panels.
        variables: What is chosen at its top: name, label and query of each.
    """
    made = dashboard.Dashboard(title).uid(uid).description(about).tags(["perch"]).editable()
    made = made.refresh("10s").time("now-1h", "now").tooltip(DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(dashboard.DatasourceVariable("prometheus").label("Prometheus").type("prometheus"))
    for variable, label, query in variables:
        made = made.with_variable(_variable(variable, label, query))
    numbers, top = iter(range(1, 1_000)), 0
    for row in rows:
        width = _WIDTH // len(row.panels)
        for place, panel in enumerate(row.panels):
            made = made.with_panel(
                panel.id(next(numbers)).grid_pos(GridPos(x=place * width, y=top, w=width, h=row.height))
            )
        top += row.height
    return made


def of_service(uid: str, title: str, about: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """A dashboard of one service, which is chosen at its top."""
    of = 'label_values(perch:ready{namespace="$namespace"}, perch_dev_service)'
    chosen = [("namespace", "Namespace", "label_values(perch:ready, namespace)"), ("service", "Service", of)]
    return board(uid, title, about, rows, chosen)


def _variable(variable: str, label: str, query: str) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(variable).label(label).datasource(_SOURCE)
    asked: dict[str, Any] = {"query": query, "refId": variable}
    return made.query(asked).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)


def _query(letter: str, query: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(letter).expr(query).legend_format(legend)
