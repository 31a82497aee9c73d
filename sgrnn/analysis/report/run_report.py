"""What is reported of a run."""

from dataclasses import dataclass
from typing import Any

from sgrnn.training.run import Run


@dataclass(frozen=True)
class RunReport:
    """A run with what was found out about it.

    Args:
        run: the run.
        diagnosis: what `sgrnn diagnose` kept; None if it has not been run.
        sample: text from its best checkpoint; None for a task, or a run without a checkpoint.
    """

    run: Run
    diagnosis: dict[str, Any] | None
    sample: str | None
