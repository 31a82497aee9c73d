"""``sgrnn train`` and ``sgrnn resume``."""

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from sgrnn.data import data_folder
from sgrnn.language_model import LanguageModel
from sgrnn.training import loop
from sgrnn.training.build import choose_device
from sgrnn.training.curves import plot_curves
from sgrnn.training.display import Display, TensorBoard, score_text
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.problem import Problem, rank
from sgrnn.training.problems import new_problem, problem_of
from sgrnn.training.recipe_files import load_recipe
from sgrnn.training.run import Run, free_folder
from sgrnn.training.sample import sample_text

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder; else $SGRNN_DATA, else ./data.")]
RunArgument = Annotated[Path, typer.Argument(help="The run's folder.")]


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or path of a .yaml file.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run; else runs/RECIPE-1, -2, ...")] = None,
    data: DataOption = None,
) -> None:
    """Train a model from a recipe, on a text or on a task; every field can be overridden.

    Example: sgrnn train ptb-word-small --policy.kind=synthetic --policy.window=5 --run runs/mine
    """
    checked = load_recipe(recipe, context.args)
    choose_device(checked.training.device)
    problem, tokenizer = new_problem(checked, data_folder(data))
    # What can be refused has been by now, so that a refusal leaves no folder behind.
    _train(Run.create(run or free_folder(Path(recipe).stem), checked, tokenizer), problem, data)


def resume(run: RunArgument, data: DataOption = None) -> None:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    Example: sgrnn resume runs/quickstart-1
    """
    opened = Run.open(run)
    _train(opened, problem_of(opened, data_folder(data)), data)


def _train(run: Run, problem: Problem, data: Path | None) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    keep_freed_memory()
    console.print(f"training {run.folder}: {problem.description}, policy {run.recipe.policy.kind}")
    with Display(run, console) as display, TensorBoard(run) as board, _stop_requested() as stop:

        def report(record: dict[str, float]) -> None:
            display(record)
            board(record)

        try:
            model = loop.train(run, problem, report, stop)
        except loop.Interrupted:
            again = ["sgrnn", "resume", str(run.folder), *(["--data", str(data)] if data else [])]
            console.print(f"stopped and saved; go on with: {shlex.join(again)}")
            raise typer.Exit(130) from None
    with run.writing("curves.png") as path:
        plot_curves([run], path)
    if isinstance(model, LanguageModel):
        assert run.tokenizer is not None, "of a text"
        console.rule("sample")
        console.print(sample_text(model, run.tokenizer, run.recipe.sample, run.recipe.training.seed))
        console.rule()
    scores = [record for record in run.records() if "valid_loss" in record]
    if scores:
        best = min(scores, key=lambda record: rank(record, "valid_"))
        perplexity = best.get("valid_perplexity")
        shown = score_text(best, "valid_") if perplexity is None else f"perplexity {perplexity:.2f}"
        console.print(f"validation {shown} (best of {len(scores)} evaluations)")
    console.print(f"the run lies in {run.folder}: metrics.jsonl, curves.png, tensorboard/, checkpoints/")
    folder = shlex.quote(str(run.folder))
    text = isinstance(model, LanguageModel)
    console.print("next: " + (f"sgrnn generate {folder} --length 300" if text else f"sgrnn evaluate {folder}"))


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or a SIGTERM, into a request to stop after the current update."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
