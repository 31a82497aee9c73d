"""The page of a report: one file of HTML with its figures inside, for a screen of any width and for paper."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sgrnn.analysis.comparison import cautions, estimator_name, table_of, without_evaluation
from sgrnn.analysis.report.plots import Plot, RunReport, draw_all
from sgrnn.config.files import dump_recipe
from sgrnn.data.atomic import atomic_write
from sgrnn.diagnostics.estimates import is_unknown

FIGURES = "figures"
_TEMPLATES = Environment(
    loader=PackageLoader("sgrnn.analysis.report", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(reports: Sequence[RunReport], output: Path) -> list[str]:
    """Write the page, and the figures of each run as PNG and SVG into its folder.

    Args:
        reports: one run or more.
        output: the HTML file.

    Returns:
        Names of the figures on the page.

    Raises:
        InputError: the folder of a run cannot be written, or its checkpoint is damaged.
        OSError: the page cannot be written.
    """
    runs = [report.run for report in reports]
    headings, rows = table_of(runs)
    output.parent.mkdir(parents=True, exist_ok=True)
    plots = _with_vectors(draw_all(reports))
    for report in reports:
        _save(report, plots if len(reports) == 1 else _with_vectors(draw_all([report])))
    page = _TEMPLATES.get_template("page.html").render(
        names=", ".join(run.folder.name for run in runs),
        about=f"{len(runs)} runs side by side." if len(runs) > 1 else _about(reports[0]),
        headings=headings,
        rows=rows,
        cautions=cautions(runs),
        summaries=[(each.run.name, [*without_evaluation([each.run]), *summary(each)]) for each in reports],
        plots=[(plot, b64encode(vector).decode()) for plot, vector in plots],
        samples=[(each.run.name, each.sample) for each in reports if each.sample is not None],
        recipes=list(_recipes(reports)),
    )
    with atomic_write(output) as file:
        file.write(page.encode())
    return [plot.name for plot, _ in plots]


def summary(report: RunReport) -> list[str]:
    """Sum a run's diagnosis up in sentences."""
    if report.diagnosis is None:
        return [f"Not diagnosed yet: sgrnn diagnose {report.run.folder}"]
    alignment, bias, health = (report.diagnosis[name] for name in ("alignment", "bias", "health"))
    injected, window = alignment["injected"], bias["equivalent_window"]
    error = bias["relative_error"]["value"][0][0]
    sentences = [
        f"Measured at update {report.diagnosis['update']:,} over {report.diagnosis['spans']} spans: "
        f"90% of the true gradient lies within {_steps(alignment['true_horizon'])}.",
        f"At boundaries R² {injected['r2']['value'][0][-1]:.2f}, cosine {injected['cosine']['value'][0][-1]:.2f} "
        f"with the true gradient of the next {alignment['lags'][-1]} steps.",
        f"The mean parameter gradient is off by {'an unknown part' if error is None else f'{error:.0%}'}: "
        f"{window['text']}{'' if window['value'] is None else ' of plain truncation'}.",
        f"The state's norm is {health['norm']['value'][0]:.0f}; {health['common']['value'][0]:.0%} of a prediction is "
        "common to all rows.",
    ]
    if "recovered" in report.diagnosis:
        value = report.diagnosis["recovered"]["value"]
        sentences.append(
            "Whether the predictions add up to the loss cannot be said: no sequence goes on from one span to the next."
            if value is None else f"The predictions add up to the loss with R² {value:.2f}."
        )  # fmt: skip
    return sentences


def _with_vectors(plots: Iterator[Plot]) -> list[tuple[Plot, bytes]]:
    return [(plot, plot.image("svg")) for plot in plots]


def _save(report: RunReport, plots: Sequence[tuple[Plot, bytes]]) -> None:
    for plot, vector in plots:
        for form, content in (("png", plot.image("png")), ("svg", vector)):
            with report.run.writing(f"{FIGURES}/{plot.name}.{form}") as path:
                path.parent.mkdir(exist_ok=True)
                with atomic_write(path) as file:
                    file.write(content)


def _about(report: RunReport) -> str:
    recipe = report.run.recipe
    learned = recipe.data.corpus if recipe.data is not None else recipe.task and recipe.task.kind
    return f"{learned}, estimator {estimator_name(report.run)}"


def _steps(horizon: Mapping[str, Any]) -> str:
    value, error = horizon["value"], horizon["error"]
    unknown = value and error is not None and is_unknown(value, error)
    return f"{value:.1f} steps" + (
        f", ± {error:.1f}, which is not known from so few spans: take more" if unknown else ""
    )


def _recipes(reports: Sequence[RunReport]) -> Iterator[tuple[str, str]]:
    """Headings and texts: the first run's recipe, and the fields in which the others differ from it."""
    first = reports[0].run
    yield first.name, dump_recipe(first.recipe)
    known = dict(_fields(first.recipe.model_dump(mode="json")))
    for report in reports[1:]:
        fields = _fields(report.run.recipe.model_dump(mode="json"))
        differing = [f"{name}: {value}" for name, value in fields if known.get(name) != value]
        text = "the same" if report.run.recipe == first.recipe else "\n".join(differing)
        yield f"{report.run.name} (what is not as in {first.name})", text


def _fields(section: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of a recipe, by dotted names, with their values as in YAML."""
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _fields(value, f"{path}{name}.")
        else:
            yield path + name, value if isinstance(value, str) else json.dumps(value)
