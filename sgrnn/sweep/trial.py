"""Training of one trial: an ordinary run whose validation scores are reported to the study."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from sgrnn.analysis.curves import LiveCurves
from sgrnn.errors import InputError
from sgrnn.sweep.results import score_of
from sgrnn.sweep.space import Load, override
from sgrnn.training import loop
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.lock import locked
from sgrnn.training.loggers.opening import open_loggers
from sgrnn.training.run import Run, free_folder
from sgrnn.training.running_metrics import Diverged
from sgrnn.training.threads import threads_for
from sgrnn.training.train_all import open_or_create

ENDED = "ended"  # user attribute of a trial: an end that Optuna has no word for
TAKEN = "taken"  # user attribute of a trial: by how many processes since the checkpoint of which update


def train_trial(
    study: optuna.Study,
    trial: Trial,
    folder: Path,
    load: Load,
    data: Path,
    report: loop.Report,
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """Train a trial to its end, from its latest checkpoint if it has one, and report to the study how it ended.

    Args:
        study: that the trial is of.
        trial: running, and of no other process.
        folder: of its run.
        load: the recipe, with overrides.
        data: the data folder.
        report: called with every record that is logged.
        stop: asked after every update whether to stop early.
        say: called with messages for a person.

    Raises:
        InputError: text, task or files are at fault; a fault of this trial's values alone is its result.
        loop.Interrupted: `stop` returned True; the trial is there to be taken again.
    """
    begun = _begun(folder, say)
    try:
        recipe = load([override(field, value) for field, value in trial.params.items()])
        run, problem = open_or_create(recipe, folder, data)
    except InputError as error:
        if begun:
            raise
        give_up(study, trial, "refused", str(error))  # values that are good by themselves and not together
        return
    judge = _Judge(trial, study.trials[trial.number])
    for record in run.records():
        judge(record)
    with locked(folder), open_loggers(run) as loggers, threads_for(run.recipe, problem.build_model):

        def log(record: dict[str, Any]) -> None:
            for logger in loggers:
                logger(record)
            report(record)
            judge(record)

        complete = False
        try:
            loop.train(run, problem, log, lambda: stop() or judge.hopeless)
            complete = True
        except Diverged:
            trial.set_user_attr(ENDED, "diverged")
        except loop.Interrupted:
            if not judge.hopeless:
                raise
        except (InputError, OSError):  # of which the trial is not at fault, and which say what to do
            trial.set_user_attr(TAKEN, (0, None))
            raise
        except Exception as error:  # above all too little memory; to be met again by whoever takes it next
            lines = str(error).strip().splitlines() or [""]
            give_up(study, trial, "failed", f"{type(error).__name__}: {lines[0]}")
            return
    LiveCurves(run).draw()
    best = best_record(run)
    if complete and best is not None:
        study.tell(trial, score_of(best))
    else:
        study.tell(trial, state=TrialState.PRUNED)


def give_up(study: optuna.Study, trial: Trial, ended: str, reason: str) -> None:
    """End a trial without a score.

    Args:
        study: that the trial is of.
        trial: running.
        ended: the state to show.
        reason: for a person.
    """
    trial.set_user_attr(ENDED, ended)
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.PRUNED)  # which a sampler takes for bad, and a failure for nothing


def _begun(folder: Path, say: Callable[[str], None]) -> bool:
    """Return True where a trial has a run to continue; a damaged run is moved away, so that the trial begins anew."""
    if not (folder / "recipe.yaml").exists():
        return False
    try:
        latest_checkpoint(Run.open(folder).checkpoints)
    except InputError as error:
        moved = free_folder(f"damaged-{folder.name}", str(folder.parent))
        folder.rename(moved)
        say(f"{error}; it was moved to {moved}, and trial {int(folder.name)} begins anew")
        return False
    return True


class _Judge:
    """Report the score of each of a trial's epochs to the study, and ask it whether to stop the trial early."""

    def __init__(self, trial: Trial, known: FrozenTrial) -> None:
        self._trial, self._epochs = trial, set(known.intermediate_values)
        self.hopeless = False

    def __call__(self, record: dict[str, Any]) -> None:
        epoch = round(record["epoch"])
        if "valid_loss" not in record or not math.isclose(record["epoch"], epoch) or epoch in self._epochs:
            return
        self._epochs.add(epoch)
        self._trial.report(score_of(record), epoch)
        self.hopeless = self._trial.should_prune()
