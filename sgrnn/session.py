"""A training session, from a recipe or a run folder to the end of the run: the command line and Python share it."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from os.path import expanduser  # which leaves what it does not know as it is
from pathlib import Path
from typing import Any

from rich.console import Console

from sgrnn.analysis.curves import LiveCurves
from sgrnn.config.build.gradient import require_shareable
from sgrnn.config.build.optimizer import choose_device
from sgrnn.config.changes import told
from sgrnn.config.files import load_recipe
from sgrnn.config.rates import rate_jump
from sgrnn.config.recipe import Recipe
from sgrnn.data import data_folder as folder_of_data
from sgrnn.errors import InputError, ProcessLost, quoted
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training import loop
from sgrnn.training.about import read_scores
from sgrnn.training.belonging import require_belonging
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.console import PlainConsole
from sgrnn.training.display import Display, score_text
from sgrnn.training.distributed import Ranks, joined
from sgrnn.training.fingerprint import other_versions
from sgrnn.training.generalization import best_train_part, log_train_part
from sgrnn.training.lock import locked
from sgrnn.training.loggers.opening import open_loggers, require_loggers
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.problems.opening import new_problem, problem_of
from sgrnn.training.problems.problem import Problem
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.room import require_room
from sgrnn.training.run import Run, free_folder
from sgrnn.training.running_metrics import Diverged
from sgrnn.training.sampling import sample_texts
from sgrnn.training.start import keep_start
from sgrnn.training.stopping import stop_requested
from sgrnn.training.threads import threads_for
from sgrnn.training.views import Views


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    run: str | Path | None = None,
    *,
    data_folder: str | Path | None = None,
    **overrides: Any,
) -> Run:
    """Train a model from a recipe to its end, as `sgrnn train` does, with its display in a terminal or a notebook.

    Args:
        recipe: the name of a shipped one, the path of a file, or sections of fields, as `{"model": {...}, ...}`.
        run: folder of the run; None for runs/RECIPE-1, -2, ...
        data_folder: where published corpora lie; None for the environment variable SGRNN_DATA, else `./data`.
        overrides: fields with other values than the recipe's: sections, `training={"epochs": 3}`, or dotted names,
            `**{"training.epochs": 3}`.

    Returns:
        The run: `sgrnn.load` takes it, `folder` is where it lies, `records()` are what was logged.

    Raises:
        InputError: recipe, overrides, folder or text are at fault, or training diverges.
        KeyboardInterrupt: Ctrl-C, or a notebook's interruption, after the update was ended and all was saved;
            `sgrnn resume RUN` goes on.
    """
    if isinstance(overrides.get("data"), str | Path):
        raise InputError(
            f"data is a section of the recipe, such as data={{'train': 'book.txt'}}, got {str(overrides['data'])!r}; "
            "name the folder of published corpora by data_folder"
        )
    name = Path(recipe).stem if isinstance(recipe, str | Path) else None
    try:
        return begin(
            partial(load_recipe, recipe, overrides),
            name,
            None if run is None else Path(expanduser(run)),
            None if data_folder is None else Path(data_folder),
        )
    except loop.Interrupted as stopped:
        raise KeyboardInterrupt(str(stopped)) from None


def begin(load: Callable[[], Recipe], name: str | None, folder: Path | None, data: Path | None) -> Run:
    """Train a new run to its end, together with other processes where torchrun has started them.

    Args:
        load: reads the recipe.
        name: of the recipe; None for that of what it learns.
        folder: of the run; None for a free one of that name.
        data: the data folder, if the user has named one.

    Raises:
        InputError: recipe, folder, text or task are at fault; nothing is left behind, but where training diverged.
        loop.Interrupted: a signal asked to stop, after saving; says how to go on.
        ProcessLost: another process has ended.
    """
    with joined() as ranks:
        with ranks.leader_first() as message:
            if ranks.leads:
                recipe = load()
                settings = recipe.training
                choose_device(settings.device, ranks.local_rank, ranks.local_world_size)
                ranks.local_rows(settings.batch_size)
                require_shareable(recipe, ranks.all_reduce)
                require_loggers(settings.loggers)
                problem, tokenizer = new_problem(recipe, folder_of_data(data))
                require_room(problem.build_model)
                # What can be refused has been by now, so that a refusal leaves no folder behind.
                run = Run.create(folder or free_folder(name or problem.name), recipe, tokenizer)
                message.append(str(run.folder))
            else:
                run = Run.open(Path(message[0]))
                problem = problem_of(run, folder_of_data(data))
        _train(run, problem, data, ranks)
        return run


def resume(folder: Path, data: Path | None, overrides: Sequence[str] = ()) -> Run:
    """Go on with a run from its latest checkpoint to its end; `begin` has the rest.

    Args:
        folder: of the run.
        data: the data folder, if the user has named one.
        overrides: of the run's recipe, as `load_recipe` takes them.
    """
    with joined() as ranks:
        with ranks.leader_first():
            run = Run.open(folder, overrides)
            read_scores(run)  # its end writes to them: what is damaged is refused before hours of training
            ranks.local_rows(run.recipe.training.batch_size)
            require_shareable(run.recipe, ranks.all_reduce)
            if run.tokenizer is not None:
                run.tokenizer.encode_prompt(run.recipe.sample.prompt)  # or its end could not be written
            problem = problem_of(run, folder_of_data(data))
        _train(run, problem, data, ranks)
        return run


def _train(run: Run, problem: Problem, data: Path | None, ranks: Ranks) -> None:
    """Train a run to its end, and print how it goes, how it ended and what to do with it."""
    console = PlainConsole(soft_wrap=True)
    with threads_for(run.recipe, problem.build_model, ranks):
        curves = LiveCurves(run)
        model = _watch(run, problem, data, ranks, curves, console)
        if ranks.leads:
            curves.draw()
            _conclude(run, model, console)


def _watch(
    run: Run, problem: Problem, data: Path | None, ranks: Ranks, curves: LiveCurves, console: PlainConsole
) -> SequenceModel:
    """Train a run while its views show it, until it ends or a signal asks to stop."""
    again = shlex.join([*ranks.command, "resume", str(run.folder), *(["--data", str(data)] if data else [])])
    keep_freed_memory()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requested())
        views = Views()
        with ranks.leader_first():
            if ranks.leads:
                stack.enter_context(locked(run.folder))
                together = f", {ranks.world_size} processes" if ranks.world_size > 1 else ""
                kind = run.recipe.gradient.kind
                console.print(f"training {run.folder}: {problem.description}, estimator {kind}{together}")
                _tell_of_changes(run, problem, console)
                views.views = [*stack.enter_context(open_loggers(run)), curves]
                views.views.append(stack.enter_context(Display(run, console)))  # last, below what the services print
        try:
            model = loop.train(
                run, problem, views, lambda: stop() or console.is_lost or views.failure is not None, ranks
            )
        except loop.Interrupted:
            views.require_none_failed()
            said = f"stopped and saved; go on with: {again}"
            if ranks.leads:
                console.print_last(said)
            raise loop.Interrupted(said) from None
        except Diverged:
            if ranks.leads:  # the others have seen the same
                raise
            raise SystemExit(2) from None
        except ProcessLost as error:
            latest = latest_checkpoint(run.checkpoints)
            saved = f"the latest checkpoint is of update {latest.progress['update']}" if latest else "nothing was saved"
            raise ProcessLost(f"{error}; {saved}; go on with: {again}") from None
        if ranks.leads and isinstance(problem, TextProblem) and (record := log_train_part(run, problem)) is not None:
            views(record)
        views.require_none_failed()
    return model


def _tell_of_changes(run: Run, problem: Problem, console: Console) -> None:
    """Print what a run begins from, or what is not as it was when it was trained before: recipe, versions, rate."""
    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is None:
        if run.recipe.model.start_from is not None:
            console.print(keep_start(run))
        return
    before = require_belonging(checkpoint, run, problem)
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
    """Print a sample, the score, and what to do next."""
    if isinstance(model, LanguageModel):
        assert run.tokenizer is not None, "of a text"
        console.rule("sample")
        sample = run.recipe.sample.model_dump()
        console.print(sample_texts(model, run.tokenizer, **sample, seed=run.recipe.training.seed)[0])
        console.rule()
    best = best_record(run)
    if best is not None:
        perplexity = best.get("valid_perplexity")
        shown = score_text(best, "valid_") if perplexity is None else f"perplexity {perplexity:.2f}"
        evaluations = sum("valid_loss" in record for record in run.records())
        share = best.get("valid_unknown_share", 0.0)
        unknown = f"; {share:.2%} of the tokens are <unk> in the place of something else" if share else ""
        console.print(f"validation {shown} (best of {evaluations} evaluations{unknown})")
        if (part := best_train_part(run)) is not None:
            gap = best["valid_loss"] - part["loss"]
            console.print(f"train perplexity {part['perplexity']:.2f}, scored alike: a gap of {gap:.2f} nats per token")
    board = "tensorboard/, " if "tensorboard" in run.recipe.training.loggers else ""
    console.print(f"the run lies in {run.folder}: metrics.jsonl, curves.png, {board}checkpoints/")
    folder = quoted(run.folder)
    text = isinstance(model, LanguageModel)
    console.print("next: " + (f"sgrnn generate {folder} --length 300" if text else f"sgrnn evaluate {folder}"))
