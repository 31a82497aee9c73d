"""Progress of a run's training, read from its folder while another process may be training it."""

from typing import NamedTuple

from sgrnn.errors import quoted
from sgrnn.training.lock import is_locked
from sgrnn.training.problems.problem import selection_score
from sgrnn.training.progress import Progress
from sgrnn.training.run import Run


class Standing(NamedTuple):
    """Progress of a run: the update that it has reached, and whether it is trained on, stopped, complete or diverged.

    Args:
        run: the run.
        update: the last that was logged; 0 before any was.
        updates: how many there are to be at most; None where nothing tells yet.
        trains: whether a process trains it now.
        out_of_patience: whether it ends before, as `training.patience` says.
        diverged: the update at which it diverged; None where it did not.
    """

    run: Run
    update: int
    updates: int | None
    trains: bool
    out_of_patience: bool
    diverged: int | None

    @property
    def complete(self) -> bool:
        """True where it was trained to its end, or beyond an end that was brought forward since."""
        ended = self.out_of_patience or (self.updates is not None and self.update >= self.updates)
        return ended and not self.trains and self.diverged is None

    @property
    def text(self) -> str:
        """Progress in words, with the command that goes on with a run that was stopped."""
        if self.complete:
            return f"complete, {self.update:,} updates"
        done = f"update {self.update:,} of {self.updates:,}" if self.updates else "nothing logged yet"
        if self.trains:
            return f"still training, {done}"
        if self.diverged is not None:
            return f"diverged at update {self.diverged:,}"
        return f"stopped, {done}: go on with `sgrnn resume {quoted(self.run.folder)}`"


def standing_of(run: Run) -> Standing:
    """Return the progress of a run, from its log and its lock."""
    trains = is_locked(run.folder)  # first, or a run that ends in between would count as stopped
    settings, records = run.recipe.training, list(run.records())
    last = next((record for record in reversed(records) if record.get("epoch")), None)
    if last is None:
        return Standing(run, 0, settings.max_updates, trains, False, None)
    per_epoch = round(last["update"] / last["epoch"])
    updates = min(settings.epochs * per_epoch, settings.max_updates or settings.epochs * per_epoch)
    ends = [each for each in records if "valid_loss" in each and each["update"] % per_epoch == 0]
    progress = Progress(scores=[selection_score(each, "valid_") for each in ends])
    diverged = next((record["diverged"] for record in records if "diverged" in record), None)
    return Standing(run, last["update"], updates, trains, progress.out_of_patience(settings.patience), diverged)
