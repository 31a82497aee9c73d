"""``sgrnn train`` and ``sgrnn resume``."""

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sgrnn.cli.stopping import stop_requested
from sgrnn.data import data_folder
from sgrnn.language_model import LanguageModel
from sgrnn.sequence_model import SequenceModel
from sgrnn.training import loop
from sgrnn.training.best import best_record
from sgrnn.training.build import choose_device
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.curves import plot_curves
from sgrnn.training.display import Display, TensorBoard, score_text
from sgrnn.training.distributed import ProcessLost, Ranks, joined
from sgrnn.training.interval import Diverged
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.problem import Problem
from sgrnn.training.problems import new_problem, problem_of
from sgrnn.training.recipe_files import load_recipe
from sgrnn.training.run import Run, free_folder, locked
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

    Several processes train it together, each on its share of training.batch_size rows, when torchrun starts them:

    Example: torchrun --nproc-per-node=2 -m sgrnn train ptb-word-small
    """
    with joined() as ranks:
        with ranks.leader_first() as told:
            if ranks.leads:
                checked = load_recipe(recipe, context.args)
                choose_device(checked.training.device, ranks.local, ranks.local_size)
                ranks.held(checked.training.batch_size)
                problem, tokenizer = new_problem(checked, data_folder(data))
                # What can be refused has been by now, so that a refusal leaves no folder behind.
                begun = Run.create(run or free_folder(Path(recipe).stem), checked, tokenizer)
                told.append(str(begun.folder))
            else:
                begun = Run.open(Path(told[0]))
                problem = problem_of(begun, data_folder(data))
        _train(begun, problem, data, ranks)


def resume(run: RunArgument, data: DataOption = None) -> None:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    Example: sgrnn resume runs/quickstart-1
    """
    with joined() as ranks:
        with ranks.leader_first():
            opened = Run.open(run)
            ranks.held(opened.recipe.training.batch_size)
            problem = problem_of(opened, data_folder(data))
        _train(opened, problem, data, ranks)


def _train(run: Run, problem: Problem, data: Path | None, ranks: Ranks) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    again = shlex.join([*ranks.command, "resume", str(run.folder), *(["--data", str(data)] if data else [])])
    keep_freed_memory()
    with ExitStack() as held:
        stop = held.enter_context(stop_requested())
        viewers: list[Callable[[dict[str, Any]], None]] = []
        with ranks.leader_first():
            if ranks.leads:
                held.enter_context(locked(run.folder))
                together = f", {ranks.size} processes" if ranks.size > 1 else ""
                kind = run.recipe.policy.kind
                console.print(f"training {run.folder}: {problem.description}, policy {kind}{together}")
                viewers = [held.enter_context(Display(run, console)), held.enter_context(TensorBoard(run))]

        def report(record: dict[str, Any]) -> None:
            for viewer in viewers:
                viewer(record)

        try:
            model = loop.train(run, problem, report, stop, ranks)
        except loop.Interrupted:
            if ranks.leads:
                console.print(f"stopped and saved; go on with: {again}")
            raise typer.Exit(130) from None
        except Diverged:
            if ranks.leads:  # the others have seen the same
                raise
            raise typer.Exit(2) from None
        except ProcessLost as error:
            latest = latest_checkpoint(run.checkpoints)
            saved = f"the latest checkpoint is of update {latest.progress['update']}" if latest else "nothing was saved"
            raise ProcessLost(f"{error}; {saved}; go on with: {again}") from None
    if ranks.leads:
        _conclude(run, model, console)


def _conclude(run: Run, model: SequenceModel, console: Console) -> None:
    """What a run ends with: curves, a sample, its score, and what to do with it."""
    with run.writing("curves.png") as path:
        plot_curves([run], path)
    if isinstance(model, LanguageModel):
        assert run.tokenizer is not None, "of a text"
        console.rule("sample")
        console.print(sample_text(model, run.tokenizer, run.recipe.sample, run.recipe.training.seed))
        console.rule()
    best = best_record(run)
    if best is not None:
        perplexity = best.get("valid_perplexity")
        shown = score_text(best, "valid_") if perplexity is None else f"perplexity {perplexity:.2f}"
        evaluations = sum("valid_loss" in record for record in run.records())
        share = best.get("valid_unknown_share", 0.0)
        unknown = f"; {share:.2%} of the tokens are <unk> in the place of something else" if share else ""
        console.print(f"validation {shown} (best of {evaluations} evaluations{unknown})")
    console.print(f"the run lies in {run.folder}: metrics.jsonl, curves.png, tensorboard/, checkpoints/")
    folder = shlex.quote(str(run.folder))
    text = isinstance(model, LanguageModel)
    console.print("next: " + (f"sgrnn generate {folder} --length 300" if text else f"sgrnn evaluate {folder}"))
