"""Opening the loggers that a recipe names."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from sgrnn.errors import InputError
from sgrnn.training.run import Run


def require_loggers(names: Sequence[str]) -> None:
    """Refuse loggers whose packages are not installed.

    Args:
        names: as in `training.loggers`.

    Raises:
        InputError: one is missing.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # nothing, or a folder of that name
            raise InputError(f"training.loggers: {name} is not installed; pip install 'sgrnn[{name}]'")


@contextmanager
def open_loggers(run: Run) -> Iterator[list[Any]]:
    """Yield the loggers of a run, functions of its records, which are open inside this context.

    Raises:
        InputError: one is not installed, cannot be reached, or cannot write.
    """
    names = run.recipe.training.loggers
    require_loggers(names)
    with ExitStack() as stack:
        yield [stack.enter_context(_logger(name, run)) for name in names]


def _logger(name: str, run: Run) -> Any:
    """Make a logger; each is imported where it is asked for, since not everybody has its package."""
    match name:
        case "tensorboard":
            from sgrnn.training.loggers.tensorboard import TensorBoard

            return TensorBoard(run)
        case "wandb":
            from sgrnn.training.loggers.wandb import WeightsAndBiases

            return WeightsAndBiases(run)
        case _:
            from sgrnn.training.loggers.mlflow import MLflow

            return MLflow(run)
