"""``sgrnn sweep``."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sgrnn.cli.options import DataOption, RecipeArgument, at_home, overrides_of
from sgrnn.cli.tables import numbers_table, print_table
from sgrnn.errors import InputError, quoted
from sgrnn.training.console import PlainConsole
from sgrnn.training.stopping import stop_requested

if TYPE_CHECKING:
    from sgrnn.config.recipe import Recipe
    from sgrnn.sweep.results import Result
    from sgrnn.sweep.space import Space
    from sgrnn.sweep.sweep import Sweep
    from sgrnn.training.loop import Report


def sweep(
    context: typer.Context,
    recipe: RecipeArgument,
    space: Annotated[Path, typer.Option(help="YAML file: recipe fields, and what each may be.", callback=at_home)],
    study: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep, made or joined; else sweeps/RECIPE-1, -2, ...", callback=at_home),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of other processes among them.")] = 20,
    prune: Annotated[bool, typer.Option(help="Stop trials that do worse than the median of the others.")] = True,
    data: DataOption = None,
) -> None:
    """Search recipe fields for the best validation score; every trial is a run of its own.

    The same command again, with the same --study, joins the sweep from another process, or goes on with it after it was
    stopped. A space file:

        optimizer.learning_rate: {low: 1e-4, high: 1e-2, log: true}

        gradient.window: [1, 5, 20]

    Example: sgrnn sweep quickstart --space space.yaml --study sweeps/mine --trials 30 --training.epochs=2
    """
    from sgrnn.config.files import load_recipe
    from sgrnn.sweep.space import read_space

    given = overrides_of(context)

    def load(overrides: Sequence[str]) -> "Recipe":
        return load_recipe(recipe, [*given, *overrides])

    base = load(())
    try:
        tried = read_space(space, load)
        from sgrnn.sweep.sweep import Sweep
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError(
            "sgrnn sweep needs Optuna: python -m pip install -c constraints.txt '.[sweep]' where sgrnn's source is"
        ) from None
    from sgrnn.config.build.optimizer import choose_device
    from sgrnn.data import data_folder
    from sgrnn.training.loop import Interrupted
    from sgrnn.training.memory import keep_freed_memory
    from sgrnn.training.problems.opening import new_problem
    from sgrnn.training.run import free_folder

    choose_device(base.training.device)
    new_problem(base, data_folder(data))  # or every trial would fail for want of it
    folder = study or free_folder(Path(recipe).stem, "sweeps")
    opened = Sweep(folder, load, tried, prune=prune)
    console = PlainConsole(soft_wrap=True)
    keep_freed_memory()
    with stop_requested() as asked:

        def stop() -> bool:
            return asked() or console.is_lost

        while not stop():
            with opened.take(trials) as trial:
                if trial is None:
                    break
                values = ", ".join(f"{field} {_shown(value)}" for field, value in trial.params.items())
                console.print(f"trial {trial.number}: {values}")
                try:
                    result = opened.train(trial, data_folder(data), _printed(console), stop, console.print)
                except Interrupted:
                    break
                console.print(f"trial {trial.number}: {_outcome(result)}")
    if (combinations := opened.exhausted) is not None and not stop():
        console.print(f"all {combinations:,} combinations of the space have been tried")
    _conclude(opened, tried, console)
    if stop():
        options = ["--space", str(space), "--study", str(folder), "--trials", str(trials)]
        options += [] if prune else ["--no-prune"]
        options += ["--data", str(data)] if data else []
        console.print_last(f"stopped; go on with: {shlex.join(['sgrnn', 'sweep', recipe, *options, *context.args])}")
        raise typer.Exit(130)


def _printed(console: Console) -> "Report":
    from sgrnn.training.display import score_text

    def report(record: dict[str, Any]) -> None:
        if "valid_loss" in record:
            console.print(f"  epoch {record['epoch']:.3g}: validation {score_text(record, 'valid_')}")

    return report


def _outcome(result: "Result") -> str:
    from sgrnn.training.display import score_text

    if result.reason is not None:
        return f"{result.state}: {result.reason}"
    return f"{result.state}, {score_text(result.record, 'valid_')}" if result.record else result.state


def _conclude(sweep: "Sweep", space: "Space", console: Console) -> None:
    """Print the table of all trials, the best first, and draw their figure."""
    from sgrnn.analysis.comparison import SCORES, cautions
    from sgrnn.sweep.results import unit_of, write_figures
    from sgrnn.training.run import Run

    results = sweep.results()
    best_first = sorted(results, key=lambda result: math.inf if result.score is None else result.score)
    shown = [name for name in SCORES if any(f"valid_{name}" in result.record for result in results)]
    headings = ("state", *space, *(SCORES[name][0] for name in shown))
    title = f"{sweep.folder}, validation of each trial at its best, best first"
    table = numbers_table("trial", *headings, title=title, left=len(headings))
    for result in best_first:
        values = [_shown(result.values.get(field, "")) for field in space]
        metrics = [
            SCORES[name][1].format(result.record[f"valid_{name}"]) if f"valid_{name}" in result.record else ""
            for name in shown
        ]
        table.add_row(str(result.number), result.state, *values, *metrics)
    print_table(console, table)
    for result in results:
        if result.state in ("failed", "damaged"):
            resumable = result.state == "failed" and result.folder.exists()
            again = f"; to see how: sgrnn resume {quoted(result.folder)}" if resumable else ""
            console.print(f"trial {result.number} {result.state}: {result.reason}{again}")
    try:
        paths = write_figures(sweep.study, unit_of(results), sweep.folder)
    except OSError as error:
        raise InputError(f"cannot write the figures in {sweep.folder}: {error.strerror}") from None
    ran = [Run.open(result.folder) for result in results if result.record]
    for caution in cautions(ran):
        console.print(f"caution: {caution}")
    complete = [result for result in best_first if result.state == "complete"]
    if complete:
        console.print(f"best: {complete[0].folder}; next: sgrnn evaluate {quoted(complete[0].folder)}")
    console.print(f"figures: {', '.join(map(str, paths))}")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).strip('"')
