"""The base of gradient estimators, and their results."""

import copy
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.cores import first_state
from sgrnn.cores.hierarchy import require_no_interfaces
from sgrnn.cores.locked import one_span
from sgrnn.errors import require_kind
from sgrnn.estimators.objective import Loss
from sgrnn.estimators.unroll import Windows, unroll
from sgrnn.span import Span
from sgrnn.state import State, leaves, to_matrix

_Method = TypeVar("_Method", bound=Callable[..., Any])


def within_span(method: _Method) -> _Method:
    """Make all that a method does with a span belong to it, so that each of the model's `SpanDropout` has one mask."""

    @wraps(method)
    def whole(self: "GradientEstimator", span: Span, *rest: Any, **options: Any) -> Any:
        require_kind("span", span, Span)
        with one_span(self.model, span.batch_size):
            return method(self, span, *rest, **options)

    return cast("_Method", whole)


def looking(method: _Method) -> _Method:
    """Do as `within_span`, and let the model work on copies of its buffers: who looks changes nothing."""
    method = within_span(method)

    @wraps(method)
    def unchanged(self: "GradientEstimator", *rest: Any, **options: Any) -> Any:
        with kept_buffers(self.model):
            return method(self, *rest, **options)

    return cast("_Method", unchanged)


@dataclass(frozen=True)
class Step:
    """Results of running an estimator on one span: loss, next state and metrics.

    Args:
        loss: mean loss per step and row, a detached scalar.
        state: the state after the span, detached.
        metrics: scalars worth logging, by name; tensors, so that reading them is the caller's choice.
    """

    loss: Tensor
    state: State
    metrics: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class BoundaryGradients:
    """Gradients of the rows' summed future loss that an estimator works with, at the boundaries of K windows, B rows.

    Args:
        boundaries: the K + 1 boundaries as steps into the span: 0, T, 2T, ..., S.
        states: at all of them, (K + 1) x B rows, detached.
        predicted: ((K + 1) x B, features) the prediction at all of them.
        injected: (K x B, features) the gradient that goes backwards from all but the first.
        continuing: ((K + 1) x B,) bool, rows whose sequence goes on across the boundary; None where all do.
        final_state: the state after the span, detached.
    """

    boundaries: list[int]
    states: State
    predicted: Tensor
    injected: Tensor
    continuing: Tensor | None
    final_state: State


class GradientEstimator(nn.Module, ABC):
    """Estimate the gradient of a span's loss with respect to a model's parameters.

    A module, since it may have parameters and a state to save. Model and loss are no parts of it: its parameters and
    what is saved of it are its own alone. A deep copy of it is one for the same model and loss, or for their copies
    where these were copied before it in the same `copy.deepcopy`.

    A penalty on outputs in the model (`sgrnn.cores.activation.ActivationRegularization`) is differentiated with the
    loss, and is no part of the loss that is returned.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        loss: ``loss(outputs, targets) -> (time, batch)``, a loss per step and row, not averaged.

    Attributes:
        window: T, steps back-propagated together; None for a whole span.
        lookahead: how many steps beyond a span it sees (`Span.future`).
        predicts: True for an estimator that predicts the gradients that cross a boundary.
    """

    window: int | None = None
    lookahead: int = 0
    predicts: bool = False
    model: nn.Module
    loss: Loss

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got a {type(model).__name__}")
        if any(parameter.is_meta for parameter in model.parameters()):
            raise ValueError("model lies on the device meta, which holds no numbers: move it (model.to_empty)")
        if not callable(loss):
            raise TypeError(f"loss must be a function of outputs and targets, got a {type(loss).__name__}")
        vars(self).update(model=model, loss=loss)  # past nn.Module, which would register them as parts

    @abstractmethod
    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, add to the gradients of model and estimator, and return loss, next state and metrics.

        Args:
            span: the data.
            state: the state before the span, whose graph is ignored; None for the one in which sequences begin.

        Raises:
            ValueError: the loss is not one number per step and row, or reaches into the model's graph past its outputs.
        """

    @looking
    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Return the gradients that would cross the boundaries of a span, without training or changing any gradient.

        They are zeros for an estimator that lets nothing cross.

        Args:
            span, state: as in `backward`.
        """
        span, state = self.begin(span, state)
        with torch.no_grad():
            windows = unroll(self.model, span, state, self.window)
        zeros = torch.zeros_like(to_matrix(windows.boundary_states))
        return at_boundaries(windows, span, zeros, zeros[span.batch_size :])

    def begin(self, span: Span, state: State) -> tuple[Span, State]:
        """Return a span and the state before it; without one given, all rows begin a sequence, and are marked so.

        A state of other rows is of no more use where all of the span's begin anew.

        Raises:
            TypeError: what is given is no span.
            ValueError: no state is given, and the model does not say in which its sequences begin; or the span has
                padding, and the model interfaces between its levels.
        """
        require_kind("span", span, Span)
        if span.mask is not None and not bool(span.mask.all()):
            require_no_interfaces(self.model, "span.mask has padding, in which levels send messages that get replies")
        if state is None:
            is_first = span.marked_first().clone()
            is_first[0] = True
            return replace(span, is_first=is_first), first_state(self.model, span.inputs)
        if span.is_first is not None and bool(span.is_first[0].all()):
            tensors = leaves(state)
            if any(tensor.dim() < 2 or tensor.shape[-2] != span.batch_size for tensor in tensors):
                state = first_state(self.model, span.inputs)
        elif (span.is_first is None or not span.is_first[0].any()) and any(each.grad_fn for each in leaves(state)):
            _warn(
                "the state has a graph, which no gradient goes back through: detach it, or, where it is to be learned, "
                "give the model a method initial_state(batch_size) or first_state(inputs), and no state"
            )
        return span, state

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        of_loss = getattr(self.loss, "__self__", self.loss)  # a method is copied with what it is a method of
        shared = {id(each): each for each in (self.model, of_loss) if id(each) not in memo}
        memo.update(shared)
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        vars(copied).update(copy.deepcopy(vars(self), memo))
        for each in shared:  # which are still to be copied where they come later
            del memo[each]
        return copied


def at_boundaries(windows: Windows, span: Span, predicted: Tensor, injected: Tensor) -> BoundaryGradients:
    """Return the gradients at the boundaries of a span's windows, together with the boundaries and states."""
    return BoundaryGradients(
        windows.boundaries, windows.boundary_states, predicted, injected, span.continuing(windows.boundaries),
        windows.final_state,
    )  # fmt: skip


def _warn(message: str) -> None:
    """Warn at the line outside of this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("sgrnn."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
