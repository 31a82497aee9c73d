"""The output gradients of the steps beyond a span: by running the model there, or from their targets alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce, column_means
from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import forked_random, method_of
from sgrnn.cores.activation import activation_regularization
from sgrnn.errors import at_least
from sgrnn.estimators.drift import is_output, without_along
from sgrnn.estimators.finite import finite_steps
from sgrnn.estimators.objective import ABSENT, Loss, losses_of, output_gradients
from sgrnn.estimators.unroll import Windows, run
from sgrnn.span import Span, Steps, between
from sgrnn.state import State, at_least_float32, cut, floating_leaves
from sgrnn.synthesizers import Synthesizer

AHEAD = ("model", "targets")
_SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)  # in uint8 it would be compared as 156


def steps_to_run(
    model: nn.Module, loss: Loss, synthesizer: Synthesizer, run_ahead: int | None, ahead: str | None
) -> tuple[int, str]:
    """Return how many of the steps ahead that a synthesizer sees the model is run over, and what knows the rest.

    Args:
        model: the model.
        loss: its loss.
        synthesizer: that sees them.
        run_ahead, ahead: as `SyntheticGradients`.

    Raises:
        ValueError: they are not known, or neither the model nor the synthesizer knows output gradients from targets.
    """
    of_targets = method_of(model, "target_gradients")
    if ahead is None:
        free = run_ahead is None and synthesizer.sees_output_gradients and synthesizer.window is None
        ahead = "targets" if free and _tells(of_targets, loss) else "model"
    if ahead not in AHEAD:
        raise ValueError(f"ahead must be one of {', '.join(AHEAD)}, got {ahead}")
    if run_ahead is not None:
        at_least("run_ahead", run_ahead, 0, "steps")
    if ahead == "model":
        return synthesizer.lookahead if run_ahead is None else min(run_ahead, synthesizer.lookahead), ahead
    if not synthesizer.sees_output_gradients:
        raise ValueError(
            f"ahead must be model for a synthesizer that sees no output gradients, a {type(synthesizer).__name__}, "
            f"got {ahead}"
        )
    if of_targets is None:
        raise ValueError(
            f"ahead must be model for a model without a method target_gradients(targets), a {type(model).__name__}, "
            f"got {ahead}"
        )
    return min(run_ahead or 0, synthesizer.lookahead), ahead


def _tells(of_targets: Callable[..., Any] | None, loss: Loss) -> bool:
    """True where targets tell a loss: that of the class whose method says what they do, unchanged in a subclass."""
    owner = getattr(of_targets, "__self__", None)
    if owner is None or getattr(loss, "__self__", None) is not owner:
        return False
    defining = next(each for each in type(owner).__mro__ if "target_gradients" in vars(each))
    unchanged = all(getattr(type(owner), name, None) is getattr(defining, name, None) for name in ("loss", "logits"))
    output, initial = getattr(owner, "output", None), getattr(owner, "initial_state", None)
    if not (unchanged and isinstance(output, nn.Linear)):
        return False
    if callable(initial) and is_output(initial(1), output.in_features):
        return False  # as a GRU's, which what targets tell was found to harm
    return getattr(loss, "__func__", None) is getattr(defining, "loss", None)


def gradients_ahead(
    windows: Windows, loss: Loss, span: Span, future: Span, run: int, rest: Tensor | None, all_reduce: AllReduce | None
) -> list[Tensor]:
    """Return the output gradients of the steps after a span, in consecutive parts (steps, B, output_size).

    Along the outputs a gradient says how sure the model is and should be, and of that targets alone tell one half: what
    they tell is without its part along the state where its core outputs it, whatever is removed elsewhere.

    Args:
        windows: those before these steps.
        loss: as in `GradientEstimator`.
        span: before these steps.
        future: the steps.
        run: how many of them the model is run over; for those after them targets alone must do.
        rest: the `constant_part` of the span's output gradients, where it is run over less than all.
        all_reduce: sums over the processes, where several share a batch.
    """
    parts = []
    if (first := first_steps(future, run)) is not None:
        parts.append(output_gradients(forward_and_back(windows.model, loss, span, first, windows.final_state)))
    if future.steps > run:
        assert rest is not None, "given where the model is run over less than all"
        targets, along, state = between(future.targets, run, future.steps), None, windows.final_state
        if is_output(state, output_size := len(rest) - 1):
            along = at_least_float32(floating_leaves(state)[0]).reshape(-1, span.batch_size, output_size)[-1]
        parts.append(from_targets(windows.model, targets, rest, along, all_reduce))
    return parts


@torch.no_grad()
def constant_part(model: nn.Module, targets: Steps, gradients: Tensor, mask: Tensor | None) -> Tensor:
    """Return the sum over steps of what their targets do not tell of output gradients, and last how many they are.

    Args:
        model: the model; its method ``target_gradients(targets)`` computes what they do tell.
        targets: (S, B, ...) of the steps; those without a target take no part.
        gradients: (S, B, output_size) their output gradients; those that are not finite take no part.
        mask: (S, B) bool, False at padding; None where there is none.

    Returns:
        (output_size + 1,).
    """
    of_targets, absent = _of_targets(model, targets)
    if absent is not None:
        mask = ~absent if mask is None else mask & ~absent
    both, counted = [gradients, of_targets], finite_steps(gradients, mask)
    all_of, told = (each.flatten(0, 1) if counted is None else each[counted] for each in both)
    return torch.cat([all_of.sum(dim=0) - told.sum(dim=0), all_of.new_full((1,), len(all_of))])


@torch.no_grad()
def from_targets(
    model: nn.Module, targets: Steps, rest: Tensor, along: Tensor | None = None, all_reduce: AllReduce | None = None
) -> Tensor:
    """Return the output gradients of steps from their targets alone, as far as other steps' gradients tell them.

    The gradient of a cross-entropy at the outputs that are read by a layer W is Wᵀp - W[y]. The second term is known of
    any step; the first, which depends on the outputs, is taken to be what it is in the mean over the other steps. A
    step without a target has neither.

    Args:
        model: the model; its method ``target_gradients(targets)`` computes the second term.
        targets: (steps, B, ...) of the steps.
        rest: the `constant_part` of the others' output gradients.
        along: (B, output_size), what lies along which is left out; None for nothing.
        all_reduce: sums over the processes, where several share a batch.

    Returns:
        (steps, B, output_size); exact where the model predicts the same at every step.
    """
    of_targets, absent = _of_targets(model, targets)
    gradients = column_means(rest, all_reduce) + of_targets
    if along is not None:  # units that a locked dropout leaves out have no part in it
        gradients = without_along(gradients, along * (of_targets != 0))
    return gradients if absent is None else gradients.masked_fill(absent.unsqueeze(-1), 0)


def _of_targets(model: nn.Module, targets: Steps) -> tuple[Tensor, Tensor | None]:
    """Return what targets tell of output gradients, and where (steps, B) there is no target; None for nowhere."""
    of_targets, absent = method_of(model, "target_gradients"), None
    assert of_targets is not None, "checked when the estimator was made"
    if isinstance(targets, Tensor) and targets.dim() == 2 and targets.dtype in _SIGNED:
        marked = targets == ABSENT
        if marked.any():
            targets, absent = targets.masked_fill(marked, 0), marked
    return at_least_float32(of_targets(targets)), absent


def forward_and_back(model: nn.Module, loss: Loss, span: Span, future: Span, state: State) -> Any:
    """Run the steps after a span, and return the outputs, with the gradient of their summed loss in ``.grad``.

    A penalty on outputs weighs as in the span: as if the next one were as long.
    """
    of_loss = getattr(loss, "__self__", loss)  # a method's module; a function holds none that could be found
    head = of_loss if isinstance(of_loss, nn.Module) else nn.Module()
    # What the next span draws at random, and what it makes of statistics, stays what it was.
    with forked_random(future.device), kept_buffers(model), kept_buffers(head):
        with torch.no_grad():  # anew where sequences begin: a model may count no further than one is long
            outputs, _ = run(model, future.inputs, state, _beginning(span, future))
        outputs = cut(outputs)
        with held_constant(model):  # or the output layer's own gradient would be computed, to be thrown away
            losses = losses_of(loss, outputs, future.targets)
            if (regularization := activation_regularization(model)) is not None:
                losses = losses + regularization(outputs, None, future.is_first, span.steps)
            # In here, too: what is checkpointed runs again on the way back, and must find the model as it was.
            torch.autograd.backward(losses, torch.ones_like(losses), inputs=floating_leaves(outputs))
    return outputs


def _beginning(span: Span, future: Span) -> Tensor | None:
    """Return where rows begin anew in the steps after a span, (steps, B) bool; None for nowhere."""
    if span.is_last is None:
        return future.is_first
    is_first = future.marked_first().clone()
    is_first[0] |= span.is_last
    return is_first


@contextmanager
def held_constant(model: nn.Module) -> Iterator[None]:
    """Hold the model's parameters constant inside this context: they need no gradient."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def first_steps(future: Span | None, steps: int) -> Span | None:
    """Return the first steps of a span's future; None if there are none."""
    if future is None or steps == 0:
        return None
    if future.steps <= steps and future.future is None:
        return future
    return future.slice(0, min(steps, future.steps)).with_future(None)


def require_future(span: Span, steps: int, subject: str) -> None:
    """Refuse a span without a future where steps ahead are needed and some rows go on.

    Args:
        span: the span.
        steps: number of steps that are needed beyond the span; 0 for none.
        subject: beginning of the message, which names who needs them.

    Raises:
        ValueError: there is no future.
    """
    if steps and span.future is None and (span.is_last is None or not bool(span.is_last.all())):
        raise ValueError(
            f"{subject} {steps} steps ahead, so a span needs its future: the steps that follow it, as "
            "sgrnn.spans(..., lookahead=estimator.lookahead) gives them, or is_last for the rows that have none"
        )
