"""A sweep: trials of a recipe, each an ordinary run, and an Optuna study that proposes them.

SWEEP/
    recipe.yaml                the resolved recipe that the trials start from
    space.json                 the values of each field
    journal.log                the study, which any number of processes share
    trials/0000/ ...           the runs
    history.png, fields.png    the scores

Every process takes one trial after another. While it trains it holds the trial's lock, which ends with it however it
ends: a trial that is running and not locked was left behind, and the next process goes on with it from its latest
checkpoint. A trial that fails is a result; so is one that has killed three processes without a checkpoint between, as
one does that takes more memory than there is.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from sgrnn.config.files import dump_recipe
from sgrnn.data.atomic import atomic_write
from sgrnn.errors import InputError
from sgrnn.sweep.proposals import Untried
from sgrnn.sweep.results import Result, score_of
from sgrnn.sweep.space import Load, Space
from sgrnn.sweep.trial import ENDED, TAKEN, give_up, train_trial
from sgrnn.training import loop
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import latest_update
from sgrnn.training.run import Run

_NAME = "sweep"
_LIVES = 3


@final
class Sweep:
    """A sweep in its folder, which is created or, where it exists, joined.

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
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            (folder / "trials").mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "lock")
            with self._lock:
                self._keep("recipe.yaml", dump_recipe(load(())), "recipe")
                described = {field: json.loads(distribution_to_json(values)) for field, values in space.items()}
                self._keep("space.json", json.dumps(described, indent=1) + "\n", "space")
                self._storage = JournalStorage(_journal(folder.resolve() / "journal.log"))
                self.study = optuna.create_study(
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
        """Lock and yield a trial: an abandoned or else a new one; None if `trials` exist or no combination is left."""
        taken, lock = None, None
        with self._lock:  # or another process would find a trial between its beginning and its lock
            for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                lock = self._acquire(left.number)
                if lock is not None:
                    taken = self._reopened(left.number)
                    if taken is not None:
                        break
                    lock.release()
                    lock = None
            else:
                known = self.study.get_trials(deepcopy=False)
                waiting = sum(trial.state == TrialState.WAITING for trial in known)
                if len(known) - waiting < trials and (waiting or self.exhausted is None):
                    taken = self.study.ask(self.space)
                    lock = self._acquire(taken.number)
                    taken.set_user_attr(TAKEN, (1, None))
        try:
            yield taken
        finally:
            if lock is not None:
                lock.release()

    @property
    def exhausted(self) -> int | None:
        """Number of combinations of values in the space once all of them were tried; None before."""
        combinations = self._sampler.combinations
        return None if combinations is None or len(self._sampler.tried(self.study)) < combinations else combinations

    def train(
        self, trial: Trial, data: Path, report: loop.Report, stop: Callable[[], bool], say: Callable[[str], None]
    ) -> Result:
        """Train a trial that `take` yielded, by `train_trial`, and return its result."""
        train_trial(self.study, trial, self._folder(trial.number), self._load, data, report, stop, say)
        return self._result(trial.number)

    def results(self) -> list[Result]:
        """Return the results of all trials so far, oldest first."""
        return [self._result(trial.number) for trial in self.study.get_trials(deepcopy=False)]

    def _result(self, number: int) -> Result:
        trial: FrozenTrial = self.study.get_trials(deepcopy=False)[number]
        folder = self._folder(number)
        state = trial.user_attrs.get(ENDED, trial.state.name.lower())
        try:
            record = best_record(Run.open(folder)) if (folder / "recipe.yaml").exists() else None
        except InputError as error:
            return Result(number, "damaged", trial.params, trial.value, {}, folder, str(error))
        score = None if record is None else score_of(record)
        return Result(number, state, trial.params, score, record or {}, folder, trial.user_attrs.get("reason"))

    def _folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def _acquire(self, number: int) -> FileLock | None:
        """Acquire the lock of a trial and return it; None if another process has it."""
        lock = FileLock(self.folder / "trials" / f".{number:04d}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def _reopened(self, number: int) -> Trial | None:
        """Return a trial, already locked, to be continued; None if it has ended or is given up."""
        if self.study.get_trials(deepcopy=False)[number].state != TrialState.RUNNING:
            return None  # it ended before its lock was taken
        study = self._storage.get_study_id_from_name(_NAME)
        trial = Trial(self.study, self._storage.get_trial_id_from_study_id_trial_number(study, number))
        if trial.params.keys() != self.space.keys():
            give_up(self.study, trial, "failed", "the process that began it was killed while its values were chosen")
            return None
        update = latest_update(self._folder(number) / "checkpoints")
        taken, before = trial.user_attrs.get(TAKEN, (0, None))
        if update != before:
            taken = 0
        if taken == _LIVES:
            since = "without a checkpoint" if update is None else f"after the checkpoint of update {update}"
            give_up(self.study, trial, "failed", f"{_LIVES} processes that trained it were killed {since}")
            return None
        trial.set_user_attr(TAKEN, (taken + 1, update))
        return trial

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


def _journal(path: Path) -> JournalFileBackend:
    """Return the study's journal, after removing a last line that a full disk or a crash left incomplete.

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
