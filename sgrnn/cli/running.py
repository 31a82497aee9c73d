"""A run in training on the command line: its display, its end, and what to do next."""

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from sgrnn.analysis.curves import plot_curves
from sgrnn.cli.stopping import stop_requested
from sgrnn.config.changes import told
from sgrnn.config.files import parse_recipe
from sgrnn.config.rates import rate_jump
from sgrnn.errors import ProcessLost
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training import loop
from sgrnn.training.best import best_record, sample_text
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.display import Display, TensorBoard, score_text
from sgrnn.training.distributed import Ranks
from sgrnn.training.fingerprint import other_versions
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run, locked
from sgrnn.training.running_metrics import Diverged
from sgrnn.training.start import keep_start
from sgrnn.training.threads import threads_for


def train_run(run: Run, problem: Problem, data: Path | None, ranks: Ranks) -> None:
    """Train a run to its end, and print how it goes, how it ended and what to do with it.

    Args:
        run: the run.
        problem: what it learns.
        data: the data folder, if the user has named one.
        ranks: the processes that train it together.
    """
    console = Console(markup=False, highlight=False, soft_wrap=True)
    with threads_for(run.recipe, problem.build_model, ranks):
        model = _train(run, problem, data, ranks, console)
        if ranks.leads:
            _conclude(run, model, console)


def _train(run: Run, problem: Problem, data: Path | None, ranks: Ranks, console: Console) -> SequenceModel:
    again = shlex.join([*ranks.command, "resume", str(run.folder), *(["--data", str(data)] if data else [])])
    keep_freed_memory()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requested())
        viewers: list[Callable[[dict[str, Any]], None]] = []
        with ranks.leader_first():
            if ranks.leads:
                stack.enter_context(locked(run.folder))
                together = f", {ranks.world_size} processes" if ranks.world_size > 1 else ""
                kind = run.recipe.gradient.kind
                console.print(f"training {run.folder}: {problem.description}, estimator {kind}{together}")
                _tell_of_changes(run, problem, console)
                viewers = [stack.enter_context(Display(run, console)), stack.enter_context(TensorBoard(run))]

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
    return model


def _tell_of_changes(run: Run, problem: Problem, console: Console) -> None:
    """Print what a run begins from, or what is not as it was when it was trained before: recipe, versions, rate."""
    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is None:
        if run.recipe.model.start_from is not None:
            console.print(keep_start(run))
        return
    before = parse_recipe(checkpoint.recipe, str(checkpoint.folder / "recipe.yaml"))
    if differing := told(before, run.recipe):
        console.print(f"from update {checkpoint.progress['update']:,} on: {differing}")
    if versions := other_versions(run.fingerprint()):
        print(f"trained so far by {versions}: what follows is not bit for bit what it would have been", file=sys.stderr)
    progress = checkpoint.progress
    jump = rate_jump(before, run.recipe, progress["update"], problem.updates_per_epoch, progress["scores"])
    if jump is not None:
        asked = before.schedule != run.recipe.schedule or before.optimizer != run.recipe.optimizer
        reason = (
            "optimizer.learning_rate or schedule was changed"
            if asked
            else f"the schedule {run.recipe.schedule.kind} is now laid out over {run.recipe.training.epochs} epochs "
            f"(training.epochs), before over {before.training.epochs}"
        )
        print(f"the learning rate goes from {jump[0]:.3g} to {jump[1]:.3g}: {reason}", file=sys.stderr)


def _conclude(run: Run, model: SequenceModel, console: Console) -> None:
    """Draw the curves, and print a sample, the score, and what to do next."""
    with run.writing("curves.png") as path:
        plot_curves([run], path)
    if isinstance(model, LanguageModel):
        console.rule("sample")
        sample = run.recipe.sample.model_dump()
        console.print(sample_text(model, run, **sample, seed=run.recipe.training.seed))
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
