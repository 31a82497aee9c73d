"""Refusing models that ``torch.func`` cannot transform."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transformable() -> Iterator[None]:
    """Say what a model must do without for an online estimator, where it does not inside this context.

    Raises:
        ValueError: it does what ``torch.func`` cannot transform.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if not any(name in said for name in ("torch.func", "functorch", "vmap")):
            raise
        raise ValueError(
            "an online estimator runs a step by torch.func, for each row by itself, where the model must do without "
            "checkpoints, backward hooks, autograd.Function in its old form, and decisions on values (if, .item()): "
            + said.splitlines()[0]
        ) from error
