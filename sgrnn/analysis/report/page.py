"""The page: one file of HTML with its figures inside, for a screen of any width and for paper."""

import html
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

from sgrnn.analysis.comparison import cautions, estimator_name, table_of, without_evaluation
from sgrnn.analysis.report.figures import STYLE, Plot, draw_all
from sgrnn.analysis.report.run_report import RunReport
from sgrnn.analysis.report.style import CSS
from sgrnn.config.files import dump_recipe
from sgrnn.data.atomic import atomic_write
from sgrnn.diagnostics.estimates import is_unknown

FIGURES = "figures"


def write_report(subjects: Sequence[RunReport], output: Path) -> list[str]:
    """Write the page, and the figures of each run as PNG and SVG into its folder.

    Args:
        subjects: one run or more, in the order of their colors.
        output: the HTML file.

    Returns:
        Names of the figures on the page.

    Raises:
        InputError: the folder of a run cannot be written, or its checkpoint is damaged.
        OSError: the page cannot be written.
    """
    runs = [subject.run for subject in subjects]
    headings, rows = table_of(runs)
    output.parent.mkdir(parents=True, exist_ok=True)
    drawn = [(each, image(each, "svg")) for each in draw_all(subjects)]
    for subject in subjects:
        _save(subject, drawn if len(subjects) == 1 else [(each, image(each, "svg")) for each in draw_all([subject])])
    names = ", ".join(subject.run.folder.name for subject in subjects)
    parts = [
        f"<header><h1>{html.escape(names)}</h1><p>{_about(subjects)}</p></header>",
        _table(headings, rows, cautions(runs)),
        *_summaries(subjects),
        "<section><h2>Figures</h2><div class='figures'>"
        + "".join(_figure(*each) for each in drawn)
        + "</div></section>",
        *_samples(subjects),
        *_recipes(subjects),
    ]
    page = (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(names)}: sgrnn report</title><style>{CSS}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )
    with atomic_write(output) as file:
        file.write(page.encode())
    return [each.name for each, _ in drawn]


def image(drawn: Plot, form: str) -> bytes:
    """The figure as a file: svg or png. The same figure gives the same file."""
    file = BytesIO()
    with mpl.rc_context(STYLE):
        drawn.figure.savefig(file, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _save(subject: RunReport, drawn: Sequence[tuple[Plot, bytes]]) -> None:
    for each, vector in drawn:
        for form, content in (("png", image(each, "png")), ("svg", vector)):
            with subject.run.writing(f"{FIGURES}/{each.name}.{form}") as path:
                path.parent.mkdir(exist_ok=True)
                with atomic_write(path) as file:
                    file.write(content)


def _about(subjects: Sequence[RunReport]) -> str:
    if len(subjects) > 1:
        return f"{len(subjects)} runs side by side."
    run = subjects[0].run
    learned = run.recipe.data.corpus if run.recipe.data is not None else run.recipe.task and run.recipe.task.kind
    return html.escape(f"{learned}, estimator {estimator_name(run)}")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    head = "".join(f"<th scope='col'>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td data-label='{html.escape(heading)}'>{html.escape(cell) or '-'}</td>"
            for heading, cell in zip(headings, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        "<section><h2>Runs</h2><p>At their best on the validation split.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + "".join(f"<p>Caution: {html.escape(note)}.</p>" for note in notes)
        + "</section>"
    )


def _summaries(subjects: Sequence[RunReport]) -> Iterator[str]:
    yield "<section><h2>Is it helping?</h2><dl>"
    for subject in subjects:
        yield f"<dt>{html.escape(subject.run.name)}</dt>"
        for sentence in [*without_evaluation([subject.run]), *summary(subject)]:
            yield f"<dd>{html.escape(sentence)}</dd>"
    yield "</dl></section>"


def summary(subject: RunReport) -> list[str]:
    """What the diagnosis of a run comes to, in sentences."""
    found = subject.diagnosis
    if found is None:
        return [f"Not diagnosed yet: sgrnn diagnose {subject.run.folder}"]
    alignment, bias = found["alignment"], found["bias"]
    injected = alignment["injected"]
    last, norm = alignment["lags"][-1], found["health"]["norm"]["value"]
    error = bias["relative_error"]["value"][0][0]
    common = found["health"]["common"]["value"][0]
    sentences = [
        f"Measured at update {found['update']:,} over {found['spans']} spans: "
        f"90% of the true gradient lies within {_steps(alignment['true_horizon'])}.",
        f"At boundaries R² {injected['r2']['value'][0][-1]:.2f}, cosine {injected['cosine']['value'][0][-1]:.2f} "
        f"with the true gradient of the next {last} steps.",
        f"The mean parameter gradient is off by {'an unknown part' if error is None else f'{error:.0%}'}: "
        f"{bias['worth']['text']}{'' if bias['worth']['value'] is None else ' of plain truncation'}.",
        f"The state's norm is {norm[0]:.0f}; {common:.0%} of a prediction is common to all rows.",
    ]
    if "recovered" in found:
        value = found["recovered"]["value"]
        sentences.append(
            "Whether the predictions add up to the loss cannot be said: no sequence goes on from one span to the next."
            if value is None else f"The predictions add up to the loss with R² {value:.2f}."
        )  # fmt: skip
    return sentences


def _steps(horizon: Mapping[str, Any]) -> str:
    value, error = horizon["value"], horizon["error"]
    unknown = value and error is not None and is_unknown(value, error)
    return f"{value:.1f} steps" + (
        f", ± {error:.1f}, which is not known from so few spans: take more" if unknown else ""
    )


def _figure(drawn: Plot, vector: bytes) -> str:
    source = b64encode(vector).decode()
    title, note = html.escape(drawn.title), html.escape(drawn.note)
    return (
        f"<figure id='{drawn.name}'><figcaption>{title}</figcaption>"
        f"<img alt='{title}' src='data:image/svg+xml;base64,{source}'><p>{note}</p></figure>"
    )


def _samples(subjects: Sequence[RunReport]) -> Iterator[str]:
    texts = [subject for subject in subjects if subject.sample is not None]
    if texts:
        yield "<section><h2>Samples</h2>"
        for subject in texts:
            yield f"<h3>{html.escape(subject.run.name)}</h3>"
            yield f"<blockquote>{html.escape(subject.sample or '')}</blockquote>"
        yield "</section>"


def _recipes(subjects: Sequence[RunReport]) -> Iterator[str]:
    yield "<section><h2>Recipes</h2>"
    first = subjects[0].run
    yield f"<h3>{html.escape(first.name)}</h3><pre>{html.escape(dump_recipe(first.recipe))}</pre>"
    known = dict(_fields(first.recipe.model_dump(mode="json")))
    for subject in subjects[1:]:
        text = "the same"
        if subject.run.recipe != first.recipe:
            fields = _fields(subject.run.recipe.model_dump(mode="json"))
            text = "\n".join(f"{name}: {value}" for name, value in fields if known.get(name) != value)
        note = f" (what is not as in {html.escape(first.name)})"
        yield f"<h3>{html.escape(subject.run.name)}{note}</h3><pre>{html.escape(text)}</pre>"
    yield "</section>"


def _fields(section: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a recipe, by dotted names, as YAML would have their values."""
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _fields(value, f"{path}{name}.")
        else:
            yield path + name, value if isinstance(value, str) else json.dumps(value)
