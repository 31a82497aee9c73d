"""Readings of one step of a stream, checked and laid out as a span's, and what comes of them."""

from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from sgrnn.errors import InputError, require_kind
from sgrnn.span import Steps
from sgrnn.state import leaves, map_state


@dataclass(frozen=True)
class StreamStep:
    """Results of a step of a stream: what was predicted, and how wrong that was before anything was learned of it.

    Args:
        outputs: of the model, (rows, ...), detached; those of rows that are away mean nothing.
        loss: mean over the rows that have an answer, a scalar; None where none has.
        losses: (rows,) of each row, 0 where there is no answer; None where no row has one.
        metrics: of the estimator, where the step ends with an update; tensors, so that reading them is the caller's
            choice.
    """

    outputs: Any
    loss: Tensor | None
    losses: Tensor | None
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: Any, losses: Tensor, answered: Tensor | None, metrics: dict[str, Tensor]) -> Self:
        """Return the results of a step in which the rows marked True (rows,) have an answer, or all, with None."""
        if answered is None:
            return cls(outputs, losses.mean(), losses, metrics)
        if not bool(answered.any()):
            return cls(outputs, None, None, metrics)
        losses = losses.where(answered, 0)
        return cls(outputs, losses.sum() / answered.sum(), losses, metrics)


def count_rows(name: str, given: Any) -> int:
    """Count the rows of the readings of a step.

    Raises:
        TypeError: they are no tensors.
        ValueError: they have no rows.
    """
    try:
        tensors = leaves(given)
    except TypeError:
        raise TypeError(
            f"{name} must be a tensor (rows, ...), or a tuple, list or dict of such, got a {type(given).__name__}"
        ) from None
    if not tensors or not all(tensor.dim() for tensor in tensors):
        raise ValueError(f"{name} must be (rows, ...), got no rows")
    return tensors[0].shape[0]


def one_step(name: str, given: Steps, counting: Tensor | None = None) -> Steps:
    """Return the readings of a step as (1, rows, ...), zeros in rows that do not count.

    They are copies, since a source may write its next readings where these lie.

    Args:
        name: what they are called in messages.
        given: (rows, ...), or a nest of such tensors.
        counting: (rows,) bool; None for all.

    Raises:
        InputError: a value that counts is not finite.
    """
    steps = map_state(lambda tensor: tensor.detach()[None].clone(), given)
    if counting is not None and not bool(counting.all()):
        steps = map_state(lambda tensor: _blank(tensor, counting), steps)
    for tensor in leaves(steps):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            row = next(row for row, values in enumerate(tensor[0]) if not bool(values.isfinite().all()))
            raise InputError(
                f"{name} must be finite, got {tensor[0, row].tolist()} in row {row}: leave this step out, or mark the "
                "row as not present or not answered"
            )
    return steps


def require_marks(name: str, marks: Tensor | None, rows: int) -> None:
    """Refuse marks of rows that are not (rows,) bool.

    Raises:
        TypeError: they are no tensor.
        ValueError: they are of another shape or kind; both name them.
    """
    if marks is None:
        return
    require_kind(name, marks, Tensor)
    if marks.shape != (rows,) or marks.dtype != torch.bool:
        raise ValueError(f"{name} must be ({rows},) bool, got {tuple(marks.shape)} in {marks.dtype}")


def _blank(steps: Tensor, counting: Tensor) -> Tensor:
    return steps.where(counting.view(1, -1, *[1] * (steps.dim() - 2)), steps.new_zeros(()))
