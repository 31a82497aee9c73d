"""The records of a run at Weights & Biases."""

import os
from typing import ClassVar, final
from uuid import uuid4

import wandb

from sgrnn.training.loggers.tracker import End, Tracker


@final
class WeightsAndBiases(Tracker):
    """A run at Weights & Biases, with the recipe as its config; its files lie in RUN/wandb.

    Server, account and mode are W&B's own affair: `wandb login`, and its environment variables, of which
    WANDB_PROJECT goes before the name of the folder. With WANDB_MODE=offline nothing is sent until `wandb sync`: the
    parts of a run that was resumed have one id, and a kill that no program can answer loses the last second before it.
    """

    kind: ClassVar[str] = "wandb"
    spoken: ClassVar[str] = "Weights & Biases"
    advice: ClassVar[str] = "log in with `wandb login`, or set WANDB_MODE=offline"

    def open(self, known: str | None) -> str:
        """Begin a run or go on with one; see `Tracker.open`."""
        self._session = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or self.project,
            name=self.name,
            id=known or uuid4().hex[:8],
            resume="allow",
            dir=self.run.folder,
            # The terminal is the display's, and a run that the caller has open stays so. What was not flushed is lost
            # where this process is killed.
            settings=wandb.Settings(console="off", reinit="create_new", x_transaction_log_flush_interval=1.0),
        )
        self._session.config.update(self.run.recipe.model_dump(mode="json"), allow_val_change=True)
        if known is not None and not self._session.offline:
            self.first_wanted = self._session.starting_step
        return self._session.id

    def send(self, update: int, metrics: dict[str, float]) -> None:
        """Log metrics at an update; those of one update are one row there."""
        self._session.log(metrics, step=update)

    def close(self, end: End) -> None:
        """Wait until everything has been sent or written; see `Tracker.close`."""
        self._session.finish(exit_code=int(end == "failed"))
