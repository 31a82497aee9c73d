"""The page of a report: one file of HTML with its figures inside, for a screen of any width and for paper."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sgrnn.analysis.comparison import adapted_tests, best_test, cautions, estimator_name, table_of, without_evaluation
from sgrnn.analysis.differences import differences
from sgrnn.analysis.report.plots import Plot, RunReport, draw_all
from sgrnn.analysis.standing import standing_of
from sgrnn.analysis.verdict import worth
from sgrnn.config.files import dump_recipe
from sgrnn.data.atomic import atomic_write
from sgrnn.diagnostics.estimates import is_unknown
from sgrnn.errors import InputError, quoted
from sgrnn.training.about import read_about
from sgrnn.training.best import best_record
from sgrnn.training.display import score_text
from sgrnn.training.generalization import TRAIN_PART, best_train_part
from sgrnn.training.run import Run

FIGURES = "figures"
_SETTINGS = ("learning_rate", "decay", "window", "sgd", "weight", "flatness", "size")  # of an adapted score
_TEMPLATES = Environment(
    loader=PackageLoader("sgrnn.analysis.report", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def code(text: str) -> Markup:
    """Return a text as HTML in which what stands between backticks is code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


_TEMPLATES.filters["code"] = code


def write_report(reports: Sequence[RunReport], output: Path) -> tuple[list[str], list[str]]:
    """Write the page, and the figures of each run as PNG and SVG into its folder.

    Args:
        reports: one run or more.
        output: the HTML file.

    Returns:
        Names of the figures on the page, and for each run whose folder cannot be written why that is.

    Raises:
        InputError: the checkpoint of a run is damaged.
        OSError: the page cannot be written.
    """
    runs = [report.run for report in reports]
    headings, rows = table_of(runs)
    output.parent.mkdir(parents=True, exist_ok=True)
    plots = _with_vectors(draw_all(reports))
    unkept: list[str] = []
    for report in reports:
        try:
            _save(report, plots if len(reports) == 1 else _with_vectors(draw_all([report])))
        except InputError as error:  # the page has the figures, whoever the run belongs to
            unkept.append(str(error))
    summaries = [(each.run.name, [*without_evaluation([each.run]), *summary(each)]) for each in reports]
    page = _TEMPLATES.get_template("page.html").render(
        names=", ".join(run.folder.name for run in runs),
        verdicts=[(each.run.name, worth(each.run, each.diagnosis)) for each in reports],
        differences=differences(runs),
        about=[facts(run) for run in runs],
        headings=headings,
        rows=rows,
        cautions=cautions(runs),
        summaries=[(name, sentences) for name, sentences in summaries if sentences],
        plots=[(plot, b64encode(vector).decode()) for plot, vector in plots],
        samples=[(each.run.name, each.sample) for each in reports if each.sample is not None],
        recipes=list(_recipes(reports)),
    )
    with atomic_write(output) as file:
        file.write(page.encode())
    return [plot.name for plot, _ in plots], unkept


def summary(report: RunReport) -> list[str]:
    """Sum a run's diagnosis up in sentences."""
    if report.diagnosis is None:
        return []
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
            with report.run.writing(f"{FIGURES}/{plot.name}.{form}", training=False) as path:
                path.parent.mkdir(exist_ok=True)
                with atomic_write(path) as file:
                    file.write(content)


def facts(run: Run) -> list[tuple[str, str]]:
    """Return what is known of a run beside its metrics, headings and texts."""
    about, recipe, test = read_about(run), run.recipe, best_test(run)
    learns = recipe.data.corpus if recipe.data is not None else recipe.task and recipe.task.kind
    parameters = about.get("parameters")
    sizes = "not counted before training"
    if parameters is not None:
        synthesizer = f", synthesizer {parameters['synthesizer']:,}" if parameters["synthesizer"] else ""
        sizes = f"{parameters['model']:,}{synthesizer}"
    score = f"not measured: `sgrnn evaluate {quoted(run.folder)}`"
    if test is not None:
        score = _measured(test)
    conditions = run.fingerprint()["conditions"]
    last = [record["seconds"] for record in run.records()][-1:]
    return [
        ("run", run.name),
        ("learns", about.get("learns", str(learns))),
        ("estimator", estimator_name(run)),
        ("parameters", sizes),
        ("began", _date(conditions[0]["time"]) if conditions else "not yet"),
        ("training", standing_of(run).text + "".join(f"; {seconds:,.0f} s" for seconds in last)),
        ("test score", score),
        *((f"{split} score", _measured(adapted)) for split, adapted in adapted_tests(run)),
        *([] if recipe.data is None else [("train and validation", _generalization(run))]),
    ]


def _measured(score: Mapping[str, Any]) -> str:
    by = "".join(f", {name.replace('_', ' ')} {score[name]:g}" for name in _SETTINGS if name in score)
    return f"{score_text(score)}{by}; update {score['update']:,}, evaluated {_date(score['evaluated'])}"


def _generalization(run: Run) -> str:
    """Return the losses on train and validation text, scored alike, and the gap between the two."""
    part, best = best_train_part(run), best_record(run)
    if part is None or best is None:
        return f"not measured: `sgrnn evaluate {quoted(run.folder)} --split {TRAIN_PART}`"
    gap = best["valid_loss"] - part["loss"]
    return f"loss {part['loss']:.4f} on as much of the train text, {best['valid_loss']:.4f}: a gap of {gap:.4f}"


def _date(time: str) -> str:
    """Return a time in UTC, to the minute."""
    return f"{time[:16].replace('T', ' ')} UTC"


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
    known = dict(first.recipe.fields_by_name())
    for report in reports[1:]:
        differing = [
            f"{name}: {value}" for name, value in report.run.recipe.fields_by_name() if known.get(name) != value
        ]
        text = "the same" if report.run.recipe == first.recipe else "\n".join(differing)
        yield f"{report.run.name} (what is not as in {first.name})", text
