"""The kinds of panel in use, with one look: units, thresholds from the vendor's numbers, links that keep filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    nodegraph,
    prometheus,
    stat,
    table,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus as promql
from grafana_foundation_sdk.models import tempo as tempo_models

from .colours import NOTHING, PLAIN, RED, Steps
from .queries import AT_THE_END, EVERY, LEAST_STEP, WHOLE, Query

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TRACES = models.DataSourceRef(type_val="tempo", uid="${traces}")


class _Panel(Protocol):
    """What all panel builders of the SDK have in common."""

    def title(self, title: str) -> Any: ...
    def build(self) -> models.Panel: ...


_P = TypeVar("_P", bound=Any)


def graph(
    title: str,
    what: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    height: int = 8,
    steps: Steps | None = None,
    stacked: bool = False,
    bars: bool = False,
    top: float | None = None,
    bottom: float | None = 0.0,
    links: Sequence[tuple[str, str]] = (),
    dashed: str = "",
) -> _Panel:
    """Lines (or stacked areas, or bars) over time. ``dashed`` is a pattern for series that are limits, not data."""
    panel = _common(timeseries.Panel(), title, what, width, height, queries)
    panel.unit(unit).line_width(1.5).fill_opacity(60 if stacked or bars else 8).show_points(looks.VisibilityMode.AUTO)
    panel.legend(_legend()).tooltip(_tooltip())
    if all(query.expr.endswith("> 0") for query in queries):
        panel.no_value(NOTHING)
    if bottom is not None:
        panel.min(bottom)
    if top is not None:
        panel.max(top)
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL)).line_width(0.5)
    if bars:
        panel.draw_style(looks.GraphDrawStyle.BARS)
    if steps is not None:
        panel.thresholds(_steps(steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    if links:
        panel.data_links(_links(links))
    if dashed:
        line = {"dash": [8, 8], "fill": "dash"}
        values = (
            ("custom.lineStyle", line),
            ("custom.fillOpacity", 0),
            ("color", {"mode": "fixed", "fixedColor": RED}),
        )
        panel.override_by_regexp(dashed, [models.DynamicConfigValue(id_val=key, value=value) for key, value in values])
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def number(
    title: str,
    what: str,
    unit: str,
    *queries: Query,
    width: int = 4,
    height: int = 4,
    steps: Steps = PLAIN,
    decimals: int | None = None,
    nothing: str = "–",
    named_steps: Mapping[str, Steps] | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> _Panel:
    """One number, or a few side by side, as they are at the end of the time range.

    Asked once, at that moment: the last point of a course may be hours old, and looks like now.
    ``nothing`` is what stands there without an answer; ``named_steps`` are those of one of several numbers.
    """
    panel = _common(stat.Panel(), title, what, width, height, queries, latest=True)
    panel.unit(unit).thresholds(_steps(steps)).color_mode(looks.BigValueColorMode.VALUE)
    panel.graph_mode(looks.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value(nothing)
    panel.color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    for name, own in (named_steps or {}).items():
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="thresholds", value=_as_written(own))])
    if decimals is not None:
        panel.decimals(decimals)
    if links:
        panel.data_links(_links(links))
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def ranking(
    title: str,
    what: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    height: int = 8,
    steps: Steps = PLAIN,
    links: Sequence[tuple[str, str]] = (),
) -> _Panel:
    """Horizontal bars, one per label set; those of several queries in their order."""
    panel = _common(bargauge.Panel(), title, what, width, height, queries, latest=True)
    panel.unit(unit).min(0).thresholds(_steps(steps)).orientation(looks.VizOrientation.HORIZONTAL)
    panel.display_mode(looks.BarGaugeDisplayMode.GRADIENT).show_unfilled(True)
    nothing = NOTHING if queries[0].expr.endswith("> 0)") else "–"
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value(nothing)
    panel.color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    if links:
        panel.data_links(_links(links))
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def heat(title: str, what: str, query: Query, *, width: int = 12, height: int = 8, each: str = "") -> _Panel:
    """A latency histogram over time; ``each`` repeats the panel for every value of a variable."""
    panel = _common(heatmap.Panel(), title, what, width, height, (query,), heatmap_rows=True)
    panel.unit("s").calculate(False)
    # Its lowest colour is a bright violet: one slow turn among thousands is seen on a dark screen.
    panel.color(
        heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Cool").steps(64).exponent(0.5)
    )
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(looks.AxisPlacement.LEFT))
    panel.exemplars_color("rgba(255,0,255,0.7)").cell_gap(1)
    if each:
        panel.repeat(each).repeat_direction("h").max_per_row(3)
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


_HIDDEN = (("custom.hidden", True), ("custom.hideFrom", {"viz": True, "legend": False, "tooltip": False}))
"""The first hides a column in Grafana 11, the second since tables were written anew in 12."""


def rows(
    title: str,
    what: str,
    *queries: Query,
    columns: Mapping[str, str],
    units: Mapping[str, str] | None = None,
    colours: Mapping[str, Steps] | None = None,
    links: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    decimals: Mapping[str, int] | None = None,
    hidden: Sequence[str] = (),
    words: Mapping[str, Mapping[str, str]] | None = None,
    nothing: str = "",
    sort: str = "",
    width: int = 24,
    height: int = 9,
) -> _Panel:
    """A table of the latest values, queries merged on their labels.

    ``columns`` names the fields to show, in order (``Value #A`` is the first query's value); those in ``hidden``
    keep rows of one name apart and are there for links. ``words`` gives words of a column their colour. ``nothing`` is
    what an empty table says.
    """
    named = [Query(query.expr, query.legend, table=True, ref=chr(ord("A") + i)) for i, query in enumerate(queries)]
    panel = _common(table.Panel(), title, what, width, height, named)
    fields: dict[str, str] = {}
    for name, text in columns.items():
        # One query's value is called Value, without its letter.
        fields |= {"Value": text, name: text} if len(queries) == 1 and name == "Value #A" else {name: text}
    order = {name: position for position, name in enumerate(fields)}
    panel.with_transformation(models.DataTransformerConfig("merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig("filterFieldsByName", options={"include": {"names": list(fields)}})
    )
    organised = {"excludeByName": {}, "indexByName": order, "renameByName": dict(fields)}
    panel.with_transformation(models.DataTransformerConfig("organize", options=organised))
    for name, unit in (units or {}).items():
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=unit)])
    for name, digits in (decimals or {}).items():
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="decimals", value=digits)])
    for name, coloured in (words or {}).items():
        known = {word: {"color": colour, "index": place} for place, (word, colour) in enumerate(coloured.items())}
        shown = (("mappings", [{"type": "value", "options": known}]), ("custom.cellOptions", {"type": "color-text"}))
        panel.override_by_name(name, [models.DynamicConfigValue(id_val=key, value=value) for key, value in shown])
    for name in hidden:
        panel.override_by_name(name, [models.DynamicConfigValue(id_val=key, value=value) for key, value in _HIDDEN])
    if nothing:
        panel.no_value(nothing)
    for name, steps in (colours or {}).items():
        values = (("thresholds", _as_written(steps)), ("custom.cellOptions", {"type": "color-text"}))
        panel.override_by_name(name, [models.DynamicConfigValue(id_val=key, value=value) for key, value in values])
    for name, targets in (links or {}).items():
        shown_links = [{"title": text, "url": url} for text, url in targets]
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="links", value=shown_links)])
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def matrix(
    title: str, what: str, unit: str, query: Query, row: str, column: str, *, width: int = 10, height: int = 16
) -> _Panel:
    """Rows against columns, a value in each cell."""
    panel = _common(table.Panel(), title, what, width, height, [Query(query.expr, table=True, ref="A")])
    panel.unit(unit).thresholds(_steps(PLAIN))
    options = {"columnField": column, "rowField": row, "valueField": "Value", "emptyValue": "null"}
    panel.with_transformation(models.DataTransformerConfig("groupingToMatrix", options=options))
    background = models.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-background"})
    colour = models.DynamicConfigValue(id_val="color", value={"mode": "continuous-BlPu"})
    panel.override_by_field_type("number", [background, colour])
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def node_graph(title: str, what: str, nodes: str, edges: str, *, width: int = 14, height: int = 16) -> _Panel:
    """Grafana's node graph: frames named ``nodes`` and ``edges`` with the fields it knows by name."""
    queries = [Query(nodes, table=True, ref="nodes"), Query(edges, table=True, ref="edges")]
    panel = _common(nodegraph.Panel(), title, what, width, height, queries)
    panel.nodes(nodegraph.NodeOptions().main_stat_unit("short").secondary_stat_unit("percentunit"))
    panel.edges(nodegraph.EdgeOptions().main_stat_unit("short"))
    renamed = {"Value #nodes": "mainstat", "Value #edges": "mainstat", "Value": "mainstat"}
    organised = {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": renamed}
    panel.with_transformation(models.DataTransformerConfig("organize", options=organised))
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def traces(title: str, what: str, traceql: str, *, width: int = 12, height: int = 9) -> _Panel:
    """Spans found in the trace datasource, newest first."""
    panel = _sized(table.Panel(), title, what, width, height).datasource(TRACES)
    query = tempo.TempoQuery().ref_id("A").query_type("traceql").query(traceql).limit(20)
    panel.with_target(query.table_type(tempo_models.SearchTableType.SPANS).datasource(TRACES))
    return panel  # type: ignore[no-any-return] # the SDK's builders share no base class


def _sized(panel: _P, title: str, what: str, width: int, height: int) -> _P:
    return panel.title(title).description(what).span(width).height(height)  # type: ignore[no-any-return] # as above


def _common(
    panel: _P,
    title: str,
    what: str,
    width: int,
    height: int,
    queries: Sequence[Query],
    *,
    heatmap_rows: bool = False,
    latest: bool = False,
) -> _P:
    _sized(panel, title, what, width, height).datasource(PROMETHEUS)
    for position, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(query.ref or chr(ord("A") + position))
        target.datasource(PROMETHEUS).editor_mode(promql.QueryEditorMode.CODE).legend_format(query.legend or "__auto")
        if query.table:
            target.instant().format(promql.PromQueryFormat.TABLE)
        elif latest or _of_the_whole(query):
            target.instant().format(promql.PromQueryFormat.TIME_SERIES)
        else:
            target.range().exemplar(query.exemplars)
            if EVERY in query.expr and ("histogram_quantile" in query.expr or " / " in query.expr):
                target.interval(LEAST_STEP)
            target.format(promql.PromQueryFormat.HEATMAP if heatmap_rows else promql.PromQueryFormat.TIME_SERIES)
        panel.with_target(target)
    return panel


def _of_the_whole(query: Query) -> bool:
    """Whether it sums up the time range: once is enough then, not at every point of a graph."""
    return WHOLE in query.expr.replace(AT_THE_END, "")


def _steps(steps: Steps) -> builders.ThresholdsConfig:
    thresholds = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds)


def _as_written(steps: Steps) -> dict[str, Any]:
    """Thresholds of one field, which the SDK leaves to us."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}


def _links(links: Sequence[tuple[str, str]]) -> list[Any]:
    return [builders.DashboardLink(text).url(url).target_blank(False) for text, url in links]


def _legend() -> common.VizLegendOptions:
    """A table with the last and the largest value of each line, the largest first; names are long, so it lies below."""
    legend = common.VizLegendOptions().show_legend(True).placement(looks.LegendPlacement.BOTTOM)
    legend.calcs(["lastNotNull", "max"]).sort_by("Max").sort_desc(True)
    return legend.display_mode(looks.LegendDisplayMode.TABLE)


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
