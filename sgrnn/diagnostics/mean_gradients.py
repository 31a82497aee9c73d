"""Mean parameter gradients over many spans: an estimator's, plain truncation's and a long window's."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from sgrnn.diagnostics.bias import Bias, apart
from sgrnn.diagnostics.estimates import group_of
from sgrnn.diagnostics.isolation import copied_interfaces, gradients_kept, real_gradients, undisturbed
from sgrnn.diagnostics.parts import WHOLE
from sgrnn.diagnostics.truth import future_gradients, steps_after
from sgrnn.estimators import ControlVariate, GradientEstimator, Mixed, TruncatedBPTT
from sgrnn.estimators.backward import backpropagate
from sgrnn.estimators.delayed import undelayed
from sgrnn.estimators.objective import Loss, mean_loss
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut


def measure_bias(
    estimator: GradientEstimator,
    spans: Sequence[Span],
    state: State,
    *,
    horizon: int,
    windows: Sequence[int] = (),
    groups: int = 10,
) -> Bias:
    """Average an estimator's parameter gradient over consecutive spans, and compare it with a long window's.

    Nothing is trained or dropped out; estimator, model and the gradients of all that the loss reaches are left as they
    are. Consecutive spans are taken together until they have `horizon` steps or their rows end; over such a stretch the
    truncations run, so that their windows can be longer than a span.

    Args:
        estimator: any; of `Delayed` what runs ahead in its place is measured, as it waits for no span here. Interfaces
            in the model's core (`sgrnn.Interface`) are part of it, and of nothing that it is compared with. Nothing in
            it is trained, but updates are counted: each span has the share or the draw of an update of its own, from
            the next on. Of a schedule that changes more slowly than the spans go, that is its present side alone.
        spans: each with `horizon` steps of future, and as many as the estimator wants, unless its rows end before.
        state: the state before the first.
        horizon: steps beyond a stretch that the reference sees.
        windows: T of the plain truncations to compare with, increasing.
        groups: of stretches, for estimates without noise and their standard errors.

    Raises:
        ValueError: there are fewer than two stretches of spans, windows do not increase, or a future is too short.
    """
    if list(windows) != sorted(set(windows)) or any(window < 1 for window in windows):
        raise ValueError(f"windows must be at least 1 step and increase, got {list(windows)}")
    joined = list(stretches(spans, horizon))
    if len(joined) < 2:
        raise ValueError(f"spans must make at least two stretches of {horizon} steps, got {len(joined)}: take more")
    groups = min(groups, len(joined))
    model, loss = estimator.model, estimator.loss
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    estimator = deepcopy(undelayed(estimator))
    predicting = estimator.synthetic if isinstance(estimator, Mixed | ControlVariate) else estimator
    saved = deepcopy(predicting.state_dict()) if predicting.predicts else None
    truncations = [TruncatedBPTT(model, loss, window, parallel=None) for window in windows]
    sums = [_Sums(parameters, groups) for _ in range(2 + len(windows))]
    reference, contenders = sums[0], sums[1:]
    square = dict.fromkeys(parameters, 0.0)
    counts = [0] * groups
    with undisturbed(model), gradients_kept(model, loss, spans[0], state):
        for place, parts in enumerate(joined):
            group = group_of(place, len(joined), groups)
            counts[group] += 1
            whole = Span.join(parts)
            with real_gradients(model):
                long = _long_window(model, loss, whole, state, horizon, parameters)
                reference.add(group, long)
                for window, contender in zip(truncations, contenders[1:], strict=True):
                    _clear(parameters)
                    window.backward(whole, state)
                    contender.add(group, _difference(_gradients(parameters), long))
            mean = {name: torch.zeros_like(gradient) for name, gradient in long.items()}
            for span in parts:
                _clear(parameters)
                if saved is not None:
                    predicting.load_state_dict(saved)  # the same in all spans: running means stand still, updates count
                with copied_interfaces(model):  # anew: they stand still as well
                    state = estimator.backward(span, state).state
                for name, gradient in _gradients(parameters).items():
                    share = span.size / whole.size
                    square[name] += share * float(gradient.double().square().sum())
                    mean[name] += share * gradient
            contenders[0].add(group, _difference(mean, long))
    weights = torch.tensor(counts, dtype=torch.float64)
    grams = [_grams(reference.values, each.values, weights) for each in contenders]
    updates = sum(map(len, joined))  # without the spans that were left over
    everything = torch.ones(groups, dtype=torch.bool)
    noise = [
        square[name] / len(joined) - _norm_of_mean(grams[0][name], everything) for name in parameters
    ]  # of the estimator, whose mean gradient is r + d
    names = list(parameters)

    def stacked(index: int) -> Tensor:
        by_name = torch.stack([torch.stack([gram[name][index] for name in names]) for gram in grams])
        return torch.cat([by_name.sum(dim=1, keepdim=True), by_name], dim=1)

    noises = torch.tensor([sum(noise), *noise], dtype=torch.float64).clamp(min=0)
    return Bias([WHOLE, *names], list(windows), stacked(0)[0], stacked(1), stacked(2), noises, horizon, updates)


def stretches(spans: Sequence[Span], steps: int) -> Iterator[list[Span]]:
    """Join consecutive spans into stretches of at least so many steps, or until all rows end; the rest is dropped."""
    taken: list[Span] = []
    for span in spans:
        taken.append(span)
        ended = span.is_last is not None and bool(span.is_last.all())
        if ended or sum(each.steps for each in taken) >= steps:
            yield taken
            taken = []


class _Sums:
    """Sums of gradients by group."""

    def __init__(self, parameters: dict[str, nn.Parameter], groups: int) -> None:
        self.values = {
            name: torch.zeros(groups, each.numel(), dtype=each.dtype, device=each.device)
            for name, each in _gradients(parameters).items()
        }

    def add(self, group: int, gradients: dict[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            self.values[name][group] += gradient.flatten()


def _long_window(
    model: nn.Module, loss: Loss, span: Span, state: State, horizon: int, parameters: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return the gradient of a span's mean loss, and of the effect of its steps on the loss of the steps beyond it."""
    _clear(parameters)
    windows = unroll(model, span, state, None)
    outputs = cut(windows.outputs)
    mean_loss(loss, outputs, span).backward()
    future, there = steps_after(span, [span.steps], horizon)
    beyond = future_gradients(model, loss, future, there, windows.final_state, [horizon])[0]
    backpropagate(windows, outputs, beyond / span.size)
    return _gradients(parameters)


def _clear(parameters: dict[str, nn.Parameter]) -> None:
    for each in parameters.values():
        each.grad = None


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the gradients of parameters, of complex ones as real and imaginary parts."""
    found = {name: torch.zeros_like(each) if each.grad is None else each.grad for name, each in parameters.items()}
    return {
        name: torch.view_as_real(each.resolve_conj()) if each.is_complex() else each for name, each in found.items()
    }


def _difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: one[name] - other[name] for name in one}


def _grams(
    reference: dict[str, Tensor], errors: dict[str, Tensor], counts: Tensor
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Inner products, by parameter, of the groups' mean r with r, d with d and d with r."""
    scale = counts.outer(counts)
    products = {}
    for name, r in reference.items():
        d = errors[name]
        products[name] = tuple((a.double() @ b.double().T).cpu() / scale for a, b in ((r, r), (d, d), (d, r)))
    return products


def _norm_of_mean(grams: tuple[Tensor, Tensor, Tensor], kept: Tensor) -> float:
    reference, error, mixed = (float(apart(each, kept)) for each in grams)
    return reference + 2 * mixed + error
