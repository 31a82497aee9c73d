"""``sgrnn report``: one page of HTML on runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgrnn.cli.inspect import open_runs
from sgrnn.cli.options import at_home
from sgrnn.errors import InputError, quoted
from sgrnn.training.console import PlainConsole

if TYPE_CHECKING:
    from sgrnn.training.run import Run


def report(
    runs: Annotated[list[Path], typer.Argument(help="The folders of one run or more.")],
    output: Annotated[Path, typer.Option(help="The HTML file to write.", callback=at_home)] = Path("report.html"),
) -> None:
    """Write one HTML page on runs, with all its figures inside: curves, diagnosis, samples, recipes.

    What `sgrnn diagnose` has measured of a run is part of it. The figures of each run also go to its folder.

    Example: sgrnn report runs/synthetic runs/truncated --output report.html
    """
    opened = open_runs(runs)
    from sgrnn.analysis.comparison import without_evaluation
    from sgrnn.analysis.diagnosis import has_boundaries, read_diagnosis
    from sgrnn.analysis.report import RunReport, write_report

    reports = [RunReport(run, read_diagnosis(run), _sample(run)) for run in opened]
    try:
        figures, unkept = write_report(reports, output)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; name another file with --output") from None
    console = PlainConsole(soft_wrap=True)
    kept = "" if unkept else "; each run's are in its folder under figures/"
    console.print(f"report: {output}, {len(figures)} figures{kept}")
    for message in unkept:
        print(f"a run's figures are on the page alone: {message}", file=sys.stderr)
    for line in without_evaluation(opened):
        console.print(line)
    for each in reports:
        if each.diagnosis is None and has_boundaries(each.run):
            console.print(f"not diagnosed yet: sgrnn diagnose {quoted(each.run.folder)}")


def _sample(run: "Run") -> str | None:
    """Draw a text from the run's best checkpoint, as at the end of training."""
    from sgrnn.training.checkpoints import latest_update
    from sgrnn.training.loading import load
    from sgrnn.training.sampling import sample_texts

    if run.tokenizer is None or latest_update(run.checkpoints) is None:
        return None
    model, tokenizer = load(run)
    sample = run.recipe.sample.model_dump()
    return sample_texts(model, tokenizer, **sample, seed=run.recipe.training.seed)[0]
