"""The records of a run as TensorBoard events."""

import threading
from contextlib import suppress
from typing import Any, Self, final

from torch.utils.tensorboard import SummaryWriter

from sgrnn.errors import InputError
from sgrnn.training.checkpoints import latest_update
from sgrnn.training.loggers.metrics import metrics_of
from sgrnn.training.run import Run


@final
class TensorBoard:
    """The metrics of a run as TensorBoard events, each on the disk as soon as it is logged.

    Args:
        run: the run. Whatever an earlier part of it wrote after its latest checkpoint is taken back.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        # The writer's thread reports a full disk twice: to `flush`, and by a traceback that nobody needs.
        self._hook = threading.excepthook
        threading.excepthook = self._report
        try:
            with run.writing("tensorboard") as folder:
                self._writer = SummaryWriter(str(folder), purge_step=(latest_update(run.checkpoints) or 0) + 1)
                self._writer.flush()
        except InputError:
            threading.excepthook = self._hook
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # each event was flushed: a full disk has been reported
            self._writer.close()
        threading.excepthook = self._hook

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record of the run's log as events.

        Raises:
            InputError: it cannot be written, the disk being full for example.
        """
        with self._run.writing("tensorboard"):
            for name, value in metrics_of(record).items():
                self._writer.add_scalar(name, value, record["update"])
            self._writer.flush()

    def _report(self, error: Any) -> None:
        if not issubclass(error.exc_type, OSError):
            self._hook(error)
