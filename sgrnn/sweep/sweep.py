"""A sweep: trials of a recipe, each an ordinary run, and an Optuna study that proposes them.

SWEEP/
    recipe.yaml        the resolved recipe that the trials start from
    space.json         what is tried
    journal.log        the study, which any number of processes share
    trials/0000/ ...   the runs
    sweep.png          what came out

Every process takes one trial after another. While it trains it holds the trial's lock, which ends with it however it
ends: a trial that is running and not locked was left behind, and the next process goes on with it from its latest
checkpoint. A trial that fails is a result; so is one that has killed three processes without a checkpoint between, as
one does that takes more memory than there is.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from sgrnn.analysis.curves import plot_curves
from sgrnn.config.files import dump_recipe
from sgrnn.data.atomic import atomic_write
from sgrnn.errors import InputError
from sgrnn.sweep.proposals import Untried
from sgrnn.sweep.space import Choices, Load, Numbers, Space, override
from sgrnn.training import loop
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import latest_checkpoint, latest_update
from sgrnn.training.display import TensorBoard
from sgrnn.training.problems.opening import new_problem, problem_of
from sgrnn.training.problems.problem import selection_score
from sgrnn.training.run import Run, free_folder, locked
from sgrnn.training.running_metrics import Diverged
from sgrnn.training.threads import threads_for

_NAME = "sweep"
_ENDED = "ended"  # what a trial says of itself that Optuna has no word for
_TAKEN = "taken"  # by how many processes since the checkpoint of which update
_LIVES = 3


@dataclass(frozen=True)
class Result:
    """What is known of a trial.

    Args:
        number: from 0.
        state: complete, pruned, diverged, refused, failed, damaged or running.
        values: of the fields, by name.
        score: what it is judged by, the less the better; None where there is none yet.
        record: the line of its record that this is of.
        folder: of its run.
        reason: why its values were refused, how it failed, or what of it is damaged.
    """

    number: int
    state: str
    values: dict[str, Any]
    score: float | None
    record: dict[str, Any]
    folder: Path
    reason: str | None = None


@final
class Sweep:
    """A sweep's folder, made or joined.

    Args:
        folder: where it lies.
        load: the recipe, with overrides.
        space: what is tried.
        prune: whether to stop a trial whose best validation is, after as many epochs, worse than the median of those
            that are complete, once five are.

    Raises:
        InputError: the folder holds another sweep, or cannot be written.
    """

    def __init__(self, folder: Path, load: Load, space: Space, *, prune: bool = True) -> None:
        self.folder, self.space, self._load = folder, space, load
        self._sampler = Untried(space)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            (folder / "trials").mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "lock")
            with self._lock:
                self._keep("recipe.yaml", dump_recipe(load(())), "recipe")
                described = {field: asdict(tried) for field, tried in space.items()}
                self._keep("space.json", json.dumps(described, indent=1) + "\n", "space")
                self._storage = JournalStorage(_journal(folder.resolve() / "journal.log"))
                self._study = optuna.create_study(
                    storage=self._storage,
                    sampler=self._sampler,
                    pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
                    study_name=_NAME,
                    load_if_exists=True,
                )
        except OSError as error:
            raise InputError(f"cannot write the sweep {folder}: {error}; name another with --study") from None
        except json.JSONDecodeError:
            raise InputError(f"{folder / 'journal.log'} is damaged: name another folder with --study") from None

    @contextmanager
    def take(self, trials: int) -> Iterator[Trial | None]:
        """A trial that nobody else has, one left behind or a new one; None if there are so many, or no more, to try."""
        taken, held = None, None
        with self._lock:  # or another process would find a trial between its beginning and its lock
            for left in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                held = self._held(left.number)
                if held is not None:
                    taken = self._reopened(left.number)
                    if taken is not None:
                        break
                    held.release()
                    held = None
            else:
                known = self._study.get_trials(deepcopy=False)
                waiting = sum(trial.state == TrialState.WAITING for trial in known)
                if len(known) - waiting < trials and (waiting or self.exhausted is None):
                    taken = self._study.ask({field: _distribution(tried) for field, tried in self.space.items()})
                    held = self._held(taken.number)
                    taken.set_user_attr(_TAKEN, (1, None))
        try:
            yield taken
        finally:
            if held is not None:
                held.release()

    @property
    def exhausted(self) -> int | None:
        """How many combinations of values the space has, once all were tried; None before."""
        combinations = self._sampler.combinations
        return None if combinations is None or len(self._sampler.tried(self._study)) < combinations else combinations

    def train(
        self, trial: Trial, data: Path, report: loop.Report, stop: Callable[[], bool], say: Callable[[str], None]
    ) -> Result:
        """Train a trial to its end, or what is left of it.

        Args:
            trial: as `take` gives it.
            data: the data folder.
            report: called with every record that is logged.
            stop: asked after every update whether to stop early.
            say: told of what a person should know.

        Raises:
            InputError: text, task or files are at fault; what only this trial's values are at fault for is its result.
            loop.Interrupted: `stop` said so; the trial is there to be taken again.
        """
        folder = self._folder(trial.number)
        run = self._begun(folder, say)
        if run is not None:
            problem = problem_of(run, data)
        else:
            try:
                recipe = self._load([override(field, value) for field, value in trial.params.items()])
                problem, tokenizer = new_problem(recipe, data)
            except InputError as error:  # values that are good by themselves and not together
                self._give_up(trial, "refused", str(error))
                return self._result(trial.number)
            run = Run.create(folder, recipe, tokenizer)
        judged = _Judge(trial, self._study.trials[trial.number])
        for record in run.records():
            judged(record)
        with locked(folder), TensorBoard(run) as board, threads_for(run.recipe, problem.build_model):

            def log(record: dict[str, Any]) -> None:
                board(record)
                report(record)
                judged(record)

            try:
                loop.train(run, problem, log, lambda: stop() or judged.hopeless)
                state = TrialState.COMPLETE
            except Diverged:
                trial.set_user_attr(_ENDED, "diverged")
                state = TrialState.PRUNED
            except loop.Interrupted:
                if not judged.hopeless:
                    raise
                state = TrialState.PRUNED
            except (InputError, OSError):  # of which the trial is not at fault, and which say what to do
                trial.set_user_attr(_TAKEN, (0, None))
                raise
            except Exception as error:  # above all too little memory; to be met again by whoever takes it next
                lines = str(error).strip().splitlines() or [""]
                self._give_up(trial, "failed", f"{type(error).__name__}: {lines[0]}")
                return self._result(trial.number)
        with run.writing("curves.png") as path:
            plot_curves([run], path)
        best = best_record(run)
        if state == TrialState.COMPLETE and best is not None:
            self._study.tell(trial, score_of(best))
        else:
            self._study.tell(trial, state=TrialState.PRUNED)
        return self._result(trial.number)

    def results(self) -> list[Result]:
        """All trials so far, oldest first."""
        return [self._result(trial.number) for trial in self._study.get_trials(deepcopy=False)]

    def _begun(self, folder: Path, say: Callable[[str], None]) -> Run | None:
        """The run of a trial that was left behind; a damaged one is put aside, and None to begin it anew."""
        if not (folder / "recipe.yaml").exists():
            return None
        try:
            run = Run.open(folder)
            latest_checkpoint(run.checkpoints)
        except InputError as error:
            aside = free_folder(f"damaged-{folder.name}", str(folder.parent))
            folder.rename(aside)
            say(f"{error}; it was moved to {aside}, and trial {int(folder.name)} begins anew")
            return None
        return run

    def _result(self, number: int) -> Result:
        trial: FrozenTrial = self._study.get_trials(deepcopy=False)[number]
        folder = self._folder(number)
        state = trial.user_attrs.get(_ENDED, trial.state.name.lower())
        try:
            record = best_record(Run.open(folder)) if (folder / "recipe.yaml").exists() else None
        except InputError as error:
            return Result(number, "damaged", trial.params, trial.value, {}, folder, str(error))
        score = None if record is None else score_of(record)
        return Result(number, state, trial.params, score, record or {}, folder, trial.user_attrs.get("reason"))

    def _folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def _held(self, number: int) -> FileLock | None:
        """The lock of a trial, taken; None if another process holds it."""
        lock = FileLock(self.folder / "trials" / f".{number:04d}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def _reopened(self, number: int) -> Trial | None:
        """A trial whose lock is held, to go on with; None if it has ended, or is given up."""
        if self._study.get_trials(deepcopy=False)[number].state != TrialState.RUNNING:
            return None  # it ended before its lock was taken
        study = self._storage.get_study_id_from_name(_NAME)
        trial = Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study, number))
        if trial.params.keys() != self.space.keys():
            self._give_up(trial, "failed", "the process that began it was killed while its values were chosen")
            return None
        update = latest_update(self._folder(number) / "checkpoints")
        taken, before = trial.user_attrs.get(_TAKEN, (0, None))
        if update != before:
            taken = 0
        if taken == _LIVES:
            since = "without a checkpoint" if update is None else f"after the checkpoint of update {update}"
            self._give_up(trial, "failed", f"{_LIVES} processes that trained it were killed {since}")
            return None
        trial.set_user_attr(_TAKEN, (taken + 1, update))
        return trial

    def _give_up(self, trial: Trial, ended: str, reason: str) -> None:
        trial.set_user_attr(_ENDED, ended)
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.PRUNED)  # which a sampler takes for bad, and a failure for nothing

    def _keep(self, name: str, text: str, what: str) -> None:
        path = self.folder / name
        if not path.exists():
            with atomic_write(path) as file:
                file.write(text.encode())
        elif path.read_bytes() != text.encode():
            raise InputError(
                f"{self.folder} holds a sweep of another {what}, see {path}: restore it, or name another folder with "
                "--study"
            )


class _Judge:
    """Tells the study of a trial's epochs, and asks it whether there is any hope."""

    def __init__(self, trial: Trial, known: FrozenTrial) -> None:
        self._trial, self._told = trial, set(known.intermediate_values)
        self.hopeless = False

    def __call__(self, record: dict[str, Any]) -> None:
        epoch = round(record["epoch"])
        if "valid_loss" not in record or not math.isclose(record["epoch"], epoch) or epoch in self._told:
            return
        self._told.add(epoch)
        self._trial.report(score_of(record), epoch)
        self.hopeless = self._trial.should_prune()


def _journal(path: Path) -> JournalFileBackend:
    """The study's file, without what a full disk or a machine that stopped has left of a last line.

    Args:
        path: the whole path, or a lock that a killed process leaves would not be seen through.
    """
    lock = JournalFileSymlinkLock(str(path))
    if path.exists():
        lock.acquire()
        try:
            with path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
        finally:
            lock.release()
    return JournalFileBackend(str(path), lock)


def score_of(record: dict[str, Any]) -> float:
    """What trials are judged by: bits per character of a text, whatever its tokens; else what a run is selected by.

    Bits per character count what every `<unk>` stands for, so that a small vocabulary is no advantage.
    """
    return record.get("valid_bits_per_character", selection_score(record, "valid_"))


def _distribution(tried: Choices | Numbers) -> optuna.distributions.BaseDistribution:
    match tried:
        case Choices(values=values):
            return optuna.distributions.CategoricalDistribution(values)
        case Numbers(low=low, high=high, step=step, log=log, whole=True):
            return optuna.distributions.IntDistribution(int(low), int(high), log, int(step or 1))
        case Numbers(low=low, high=high, step=step, log=log):
            return optuna.distributions.FloatDistribution(low, high, log, step)
