"""The objective, a span's mean loss, and its gradients at outputs and states."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import called, forked_random
from sgrnn.cores.activation import activation_regularization
from sgrnn.errors import is_of_memory
from sgrnn.span import Span
from sgrnn.state import State, at_least_float32, cut, floating_leaves, leaves, map_state

# The loss that each estimator was seen to have: once is enough, and costs nothing later.
_judges_apart: WeakKeyDictionary[object, Callable[[Any, Tensor], Tensor]] = WeakKeyDictionary()

_PAST_OUTPUTS = (
    "the loss reaches into the model's graph past its outputs: return what it needs among the model's outputs"
)

Loss = Callable[[Any, Tensor], Tensor]  # outputs, targets -> (time, batch)
ABSENT = -100  # the target of a step that has none, by torch's convention


@dataclass(frozen=True)
class Objective:
    """The objective of a span, and its loss.

    Args:
        trained: what is differentiated: the mean loss, and the penalty on the model's outputs.
        loss: the mean loss alone, detached.
    """

    trained: Tensor
    loss: Tensor

    def times(self, factor: float) -> "Objective":
        """Return both as a part of something larger."""
        return Objective(self.trained * factor, self.loss * factor)


def objective_of(
    model: nn.Module, loss: Loss, outputs: Any, span: Span, *, steps: int | None = None, before: Any = None
) -> Objective:
    """Return the objective of a span as a function of the model's outputs.

    Args:
        model: perhaps with an `ActivationRegularization` in it.
        loss: as in `GradientEstimator`.
        outputs: of the model.
        span: the data.
        steps: of the span of which this is a window; None where it is none.
        before: the outputs of the step before this window in the same span, if `penalizes_changes`; None for no step.

    Raises:
        TypeError, ValueError: as `mean_loss`.
    """
    trained = mean_loss(loss, outputs, span)
    reported = trained.detach()
    if (regularization := activation_regularization(model)) is not None:
        trained = trained + _mean(regularization(outputs, before, span.is_first, steps or span.steps), span)
    return Objective(trained, reported)


def penalizes_changes(model: nn.Module) -> bool:
    """Return True where the outputs of consecutive steps meet in a model's objective."""
    regularization = activation_regularization(model)
    return regularization is not None and regularization.temporal > 0


def mean_loss(loss: Loss, outputs: Any, span: Span) -> Tensor:
    """Return the mean of a loss over steps and rows, those of padding aside.

    Raises:
        TypeError: the loss is no tensor.
        ValueError: the loss is not one number per step and row or has no graph, or the targets lie on another device.
    """
    try:
        losses = losses_of(loss, outputs, span.targets)
    except RuntimeError as error:
        own, found = leaves(outputs)[0].device, leaves(span.targets)[0].device
        if own == found:
            raise
        raise ValueError(
            f"targets must be on the device of the model's outputs, {own}, got {found}: span = span.to(device)"
        ) from error
    if not isinstance(losses, Tensor):
        raise TypeError(f"loss must return a tensor, got a {type(losses).__name__}")
    if losses.shape != (span.steps, span.batch_size):
        raise ValueError(
            f"loss must give one number per step and row, {(span.steps, span.batch_size)}, "
            f"got {tuple(losses.shape)}: switch off its own averaging (reduction='none')"
        )
    if not losses.requires_grad:
        raise ValueError(
            "the loss has no graph: let it depend on the outputs that it is given, without detach(), and call backward "
            "outside of torch.no_grad() and torch.inference_mode()"
        )
    return _mean(at_least_float32(losses), span)


def require_apart(estimator: object, loss: Loss, outputs: Any, span: Span) -> None:
    """Refuse a loss that does not judge each step by itself, where it is called window by window.

    The first time that an estimator asks for a loss, and then no more, it is called three times besides: some steps'
    losses are differentiated to the others, anew each time, as some losses can be differentiated once. What is no loss
    at all is passed over: `objective_of` refuses it.

    Args:
        estimator: whose loss it is.
        loss: as in `GradientEstimator`.
        outputs: of the model, over a window of two steps or more.
        span: the window.

    Raises:
        ValueError: the loss of a step depends on the outputs of another.
    """
    if _judges_apart.get(estimator) is loss:
        return
    steps = torch.arange(span.steps, device=span.device)
    for chosen in (steps % 2 == 0, steps < span.steps // 2, steps == span.steps - 1):
        if _reaches_others(loss, outputs, span, chosen):
            raise ValueError(
                "the loss of a step depends on the outputs of other steps, of which it sees those of one window here: "
                "it must judge each step by itself, or be called once for a span, as by BPTT and without low_memory"
            )
    _judges_apart[estimator] = loss


def _reaches_others(loss: Loss, outputs: Any, span: Span, chosen: Tensor) -> bool:
    """Tell whether the losses of the chosen steps have a gradient for the outputs of others, near what these are."""
    of_loss = getattr(loss, "__self__", loss)
    try:
        with forked_random(span.device), kept_buffers(of_loss if isinstance(of_loss, nn.Module) else nn.Module()):
            leaf = cut(map_state(_jittered, outputs))
            losses = losses_of(loss, leaf, span.targets)
    except Exception as error:  # of any kind: a loss may insist on one-hot outputs, say
        if is_of_memory(error):
            raise
        return False
    if not isinstance(losses, Tensor) or losses.shape != (span.steps, span.batch_size) or not losses.requires_grad:
        return False
    reached = torch.autograd.grad(losses[chosen].sum(), floating_leaves(leaf), allow_unused=True)
    return any(each is not None and bool((each[~chosen].abs() > 0).any()) for each in reached)


def _jittered(outputs: Tensor) -> Tensor:
    """Return outputs with a little noise, as a penalty on changes has no gradient where nothing changes.

    It lies between them and numbers from 0 to 1, so that chances stay chances, which some losses insist on.
    """
    return outputs.lerp(torch.rand_like(outputs), 0.01) if outputs.is_floating_point() else outputs


def losses_of(loss: Loss, outputs: Any, targets: Tensor) -> Tensor:
    """Return the losses of a copy of the outputs, which the loss may write into, as one with a ReLU in place does."""
    return called(loss, map_state(Tensor.clone, outputs), targets)


def _mean(losses: Tensor, span: Span) -> Tensor:
    return losses.mean() if span.mask is None else losses.where(span.mask, 0).sum() / span.size


def differentiate(roots: Iterable[tuple[Tensor, Tensor]], again: str = _PAST_OUTPUTS) -> None:
    """Back-propagate from tensors, given the gradient at each.

    Args:
        roots: tensors and gradients.
        again: the message where the graph has been gone through already.

    Raises:
        ValueError: it has.
    """
    pairs = list(roots)
    try:
        torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise ValueError(again) from error


def roots(attached: State, leaves: State) -> list[tuple[Tensor, Tensor]]:
    """Pair the tensors of a state, or of outputs, that have a graph with the gradients at what was cut from them.

    Args:
        attached: to the graph that `differentiate` is to go through.
        leaves: of the same structure, as `sgrnn.state.cut` gives it, after a backward pass.
    """
    pairs = zip(floating_leaves(attached), floating_leaves(leaves), strict=True)
    return [(tensor, leaf.grad) for tensor, leaf in pairs if tensor.requires_grad and leaf.grad is not None]


def gradients(state: State) -> list[Tensor]:
    """Return the ``.grad`` of a state's floating-point tensors, zeros where there is none."""
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in floating_leaves(state)]


def output_gradients(outputs: Any) -> Tensor:
    """Return the gradient that the loss left at the model's outputs, (time, batch, output_size), float32 at least."""
    parts = [at_least_float32(gradient).reshape(*gradient.shape[:2], -1) for gradient in gradients(outputs)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def norms(state: State) -> dict[str, Tensor]:
    """Return the metric ``cell_norm``, the mean over rows of the norm of the state's last tensor, an LSTM's cell."""
    cell = next(reversed(leaves(state)), None)
    if cell is None or not cell.is_floating_point():
        return {}
    of_a_row = [axis for axis in range(cell.dim()) if axis != cell.dim() - 2]
    return {"cell_norm": torch.linalg.vector_norm(at_least_float32(cell), dim=of_a_row).mean()}
