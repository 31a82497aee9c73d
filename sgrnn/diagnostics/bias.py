"""The systematic error of an estimator's parameter gradient: what is left of it when many spans are averaged."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sgrnn.cores.dropout import without_dropout
from sgrnn.diagnostics.estimates import Estimate, group_of, is_unknown, spread
from sgrnn.diagnostics.horizon import crossing_point
from sgrnn.diagnostics.interfaces import copied_interfaces, real_gradients
from sgrnn.diagnostics.leaves import gradients_kept
from sgrnn.diagnostics.parts import WHOLE
from sgrnn.diagnostics.truth import future_gradients, steps_after
from sgrnn.estimators import GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.backward import backpropagate
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.objective import Loss, mean_loss
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut

ESTIMATOR = "estimator"
_ROUNDING = 1e-6  # of float32, in which gradients are summed


@dataclass(frozen=True)
class Bias:
    """Inner products of mean gradients, from which all figures about their systematic error follow.

    The reference r is the gradient of a long window: of all loss of the span and of `horizon` steps beyond it. A
    contender's gradient is r + d. Squared norms of a mean are estimated without the noise that is left in it, as the
    mean of the inner products of two different groups (a U-statistic). Where that comes out below 0 there is nothing
    but noise: an error counts as 0 then, and what is relative to such a reference is not a number.

    Args:
        tensors: names of the parameters; the first is the whole.
        windows: T of the plain truncations that were compared.
        reference: (tensors, groups, groups) inner products of the groups' mean r.
        errors: (contenders, tensors, groups, groups) those of d; the estimator first, then the truncations.
        mixed: (contenders, tensors, groups, groups) those of d with r.
        noise: (tensors,) the mean squared distance of the estimator's gradient in one update from its mean.
        horizon: steps beyond a span that the reference sees.
        updates: how many of the estimator's updates were averaged.
    """

    tensors: list[str]
    windows: list[int]
    reference: Tensor
    errors: Tensor
    mixed: Tensor
    noise: Tensor
    horizon: int
    updates: int

    @property
    def contenders(self) -> list[str]:
        """What the first axis of the figures is: the estimator, then truncation with each window."""
        return [ESTIMATOR, *(f"T={window}" for window in self.windows)]

    def relative_error(self) -> Estimate:
        """(contenders, tensors) |mean d| / |mean r|."""
        return self._leave_out(self._relative_error)

    def cosine(self) -> Estimate:
        """(contenders, tensors) of the mean gradient with the mean of the reference.

        An estimate without the noise of means can come out beyond 1 or -1 (`cosine_outside`); it counts as that then.
        Not a number where the mean gradient is nothing but noise. Standard errors are those of the estimate.
        """
        value, error = self._leave_out(self._cosine)
        return Estimate(value.clamp(-1, 1), error)

    def cosine_outside(self) -> Tensor:
        """(contenders, tensors) whether noise has taken the estimate of a cosine beyond 1 or -1, but for rounding."""
        return self._cosine(self._all).abs() > 1 + _ROUNDING

    def noise_ratio(self) -> Tensor:
        """(tensors,) how far the gradient of one update lies from its mean, over |mean r|: the minibatch noise."""
        return (self.noise / self._reference(self._all)).sqrt()

    def updates_to_show(self) -> Tensor:
        """(contenders, tensors) the updates over which noise averages out to the size of the bias.

        An optimizer that averages over fewer sees noise, and the bias hardly matters; infinite where there is none.
        """
        return (self.noise_ratio() / self.relative_error().value).square()

    def equivalent_window(self) -> Estimate:
        """The window at which plain truncation has the error of the gradient: interpolated, in log T.

        The standard error is not one of the interpolation, which is as good as the windows around it are near
        (`windows_around`): compare with those too, and join what is found (`joined`).

        Not below the smallest nor above the largest window that was compared: see `worth_text`. Not a number where the
        reference is nothing but noise.

        Raises:
            ValueError: no windows were compared.
        """
        if not self.windows:
            raise ValueError("windows must be at least one to compare with, got none")
        places = torch.tensor([math.log(window) for window in self.windows], dtype=torch.float64)

        def statistic(kept: Tensor) -> Tensor:
            error = self._relative_error(kept)[:, 0]
            if error.isnan().any():
                return error.new_full((), torch.nan)
            return crossing_point(places, -error[1:], -error[0]).exp()

        return self._leave_out(statistic)

    def worth_text(self) -> str:
        """The window at which plain truncation does as well, in words: never rounded up, and with what is not known.

        Raises:
            ValueError: no windows were compared.
        """
        value, error = self.equivalent_window()
        if value.isnan():
            return "not to be told from noise"
        equivalent_window, spread = float(value), float(error)
        known = error.isfinite() and not is_unknown(equivalent_window, spread)
        errors = self.relative_error().value[:, 0]
        if errors[0] > errors[1]:
            text = f"worth less than T={self.windows[0]}"
        elif errors[0] < errors[-1]:
            text = f"worth more than T={self.windows[-1]}"
        else:
            text = f"worth T={equivalent_window:.1f}" + (f" ± {spread:.1f}" if error.isfinite() else "")
            if known and not any(abs(window - equivalent_window) < 0.05 for window in self.windows):
                below, above = self._around(equivalent_window)
                text += f" (between {below} and {above})"
        return text if known else f"{text} (which is not known from so few spans: take more)"

    def windows_around(self, most: int = 4) -> list[int]:
        """Whole windows between the two that the estimator's worth lies between; of many some, as far apart in ratio.

        Raises:
            ValueError: no windows were compared.
        """
        equivalent_window = float(self.equivalent_window().value)
        if not self.windows[0] < equivalent_window < self.windows[-1]:
            return []
        below, above = self._around(equivalent_window)
        if above - below - 1 <= most:
            return list(range(below + 1, above))
        ratio = (above / below) ** (1 / (most + 1))
        return [round(below * ratio**place) for place in range(1, most + 1)]

    def joined(self, other: "Bias") -> "Bias":
        """The same estimator on the same spans beside the windows of both.

        Raises:
            ValueError: windows are the same, or the spans or groups were not.
        """
        if set(self.windows) & set(other.windows) or not torch.equal(self.reference, other.reference):
            raise ValueError("other must be of the same spans and groups, and of other windows")
        windows = [*self.windows, *other.windows]
        order = [0, *(1 + place for place in sorted(range(len(windows)), key=windows.__getitem__))]
        errors, mixed = (
            torch.cat([ours, theirs[1:]])[order]
            for ours, theirs in ((self.errors, other.errors), (self.mixed, other.mixed))
        )
        return replace(self, windows=sorted(windows), errors=errors, mixed=mixed)

    def _around(self, equivalent_window: float) -> tuple[int, int]:
        below = max(window for window in self.windows if window <= equivalent_window)
        return below, min(window for window in self.windows if window > equivalent_window)

    @property
    def _all(self) -> Tensor:
        return torch.ones(self.reference.shape[-1], dtype=torch.bool)

    def _cosine(self, kept: Tensor) -> Tensor:
        reference = self._reference(kept)
        dot = _apart(self.mixed, kept)
        square = reference + 2 * dot + _apart(self.errors, kept)
        return (reference + dot) / (torch.where(square > 0, square, torch.nan) * reference).sqrt()

    def _relative_error(self, kept: Tensor) -> Tensor:
        return (_apart(self.errors, kept).clamp(min=0) / self._reference(kept)).sqrt()

    def _reference(self, kept: Tensor) -> Tensor:
        """The squared norm of the mean reference, not a number where there is nothing but noise."""
        found = _apart(self.reference, kept)
        return torch.where(found > 0, found, torch.nan)

    def _leave_out(self, statistic: Callable[[Tensor], Tensor]) -> Estimate:
        value = statistic(self._all)
        groups = len(self._all)
        if groups < 3:  # two different ones are needed for a squared norm
            return Estimate(value, torch.full_like(value, torch.nan))
        every = torch.arange(groups)
        return Estimate(value, spread(torch.stack([statistic(every != group) for group in range(groups)])))


def measure_bias(
    estimator: GradientEstimator,
    model: nn.Module,
    loss: Loss,
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
        gradient: any; interfaces in the model's core (`sgrnn.Interface`) are part of it, and of nothing that it is
            compared with.
        model, loss: as `GradientEstimator.backward` takes them.
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
    stretches = list(stretch(spans, horizon))
    if len(stretches) < 2:
        raise ValueError(f"spans must make at least two stretches of {horizon} steps, got {len(stretches)}: take more")
    groups = min(groups, len(stretches))
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    estimator = deepcopy(estimator)
    saved = deepcopy(estimator.state_dict()) if isinstance(estimator, SyntheticGradients | Mixed) else None
    truncations = [TruncatedBPTT(window, parallel=None) for window in windows]
    sums = [_Sums(parameters, groups) for _ in range(2 + len(windows))]
    reference, contenders = sums[0], sums[1:]
    square = dict.fromkeys(parameters, 0.0)
    counts = [0] * groups
    with without_dropout(model), torch.random.fork_rng(), gradients_kept(model, loss, spans[0], state):
        for place, parts in enumerate(stretches):
            group = group_of(place, len(stretches), groups)
            counts[group] += 1
            whole = join(parts)
            with real_gradients(model):
                long = _long_window(model, loss, whole, state, horizon, parameters)
                reference.add(group, long)
                for window, contender in zip(truncations, contenders[1:], strict=True):
                    _clear(parameters)
                    window.backward(model, loss, whole, state)
                    contender.add(group, _difference(_gradients(parameters), long))
            mean = {name: torch.zeros_like(gradient) for name, gradient in long.items()}
            for span in parts:
                _clear(parameters)
                if saved is not None:
                    estimator.load_state_dict(saved)  # the same estimator in all spans: means and gate stand still
                with copied_interfaces(model):  # anew: they stand still as well
                    state = estimator.backward(model, loss, span, state).state
                for name, gradient in _gradients(parameters).items():
                    square[name] += float(gradient.double().square().sum())
                    mean[name] += gradient * (span.steps / whole.steps)
            contenders[0].add(group, _difference(mean, long))
    weights = torch.tensor(counts, dtype=torch.float64)
    grams = [_grams(reference.values, each.values, weights) for each in contenders]
    updates = sum(map(len, stretches))  # without the spans that were left over
    everything = torch.ones(groups, dtype=torch.bool)
    noise = [
        square[name] / updates - _norm_of_mean(grams[0][name], everything) for name in parameters
    ]  # of the estimator, whose mean gradient is r + d
    names = list(parameters)

    def stacked(index: int) -> Tensor:
        found = torch.stack([torch.stack([gram[name][index] for name in names]) for gram in grams])
        return torch.cat([found.sum(dim=1, keepdim=True), found], dim=1)

    noises = torch.tensor([sum(noise), *noise], dtype=torch.float64).clamp(min=0)
    return Bias([WHOLE, *names], list(windows), stacked(0)[0], stacked(1), stacked(2), noises, horizon, updates)


def stretch(spans: Sequence[Span], steps: int) -> Iterator[list[Span]]:
    """Consecutive spans of at least so many steps together, or until all rows end; what is left over is dropped."""
    taken: list[Span] = []
    for span in spans:
        taken.append(span)
        ended = span.is_last is not None and bool(span.is_last.all())
        if ended or sum(each.steps for each in taken) >= steps:
            yield taken
            taken = []


def join(spans: Sequence[Span]) -> Span:
    """Consecutive spans as one."""
    if len(spans) == 1:
        return spans[0]
    is_first = None
    if any(span.is_first is not None for span in spans) or any(span.is_last is not None for span in spans[:-1]):
        is_first = torch.cat([
            torch.zeros(span.inputs.shape[:2], dtype=torch.bool, device=span.inputs.device)
            if span.is_first is None else span.is_first
            for span in spans
        ])  # fmt: skip
    inputs, targets = torch.cat([span.inputs for span in spans]), torch.cat([span.targets for span in spans])
    return Span(inputs, targets, is_first, spans[-1].is_last, spans[-1].future)


class _Sums:
    """Sums of gradients by group."""

    def __init__(self, parameters: dict[str, nn.Parameter], groups: int) -> None:
        self.values = {
            name: torch.zeros(groups, each.numel(), dtype=each.dtype, device=each.device)
            for name, each in parameters.items()
        }

    def add(self, group: int, gradients: dict[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            self.values[name][group] += gradient.flatten()


def _long_window(
    model: nn.Module, loss: Loss, span: Span, state: State, horizon: int, parameters: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The gradient of the mean loss of a span and of what its steps do to the loss of the steps beyond it."""
    _clear(parameters)
    unrolled = unroll(model, span, state, None)
    outputs = cut(unrolled.outputs)
    mean_loss(loss, outputs, span).backward()
    future, there = steps_after(span, [span.steps], horizon)
    beyond = future_gradients(model, loss, future, there, unrolled.final_state, [horizon])[0]
    open_rows = span.continuing(unrolled.boundaries)
    if open_rows is not None:
        beyond = beyond * open_rows[-span.batch_size :].unsqueeze(1)
    backpropagate(unrolled, outputs, beyond / (span.steps * span.batch_size))
    return _gradients(parameters)


def _clear(parameters: dict[str, nn.Parameter]) -> None:
    for each in parameters.values():
        each.grad = None


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(each) if each.grad is None else each.grad for name, each in parameters.items()
    }  # fmt: skip


def _difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: one[name] - other[name] for name in one}


def _grams(
    reference: dict[str, Tensor], errors: dict[str, Tensor], counts: Tensor
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """By parameter, the groups' inner products of r with r, d with d and d with r, each of the groups' means."""
    scale = counts.outer(counts)
    found = {}
    for name, r in reference.items():
        d = errors[name]
        found[name] = tuple((a.double() @ b.double().T).cpu() / scale for a, b in ((r, r), (d, d), (d, r)))
    return found


def _apart(products: Tensor, kept: Tensor) -> Tensor:
    """The mean of inner products (..., G, G) over pairs of different groups, of those kept."""
    chosen = products[..., kept, :][..., kept]
    number = chosen.shape[-1]
    return (chosen.sum(dim=(-2, -1)) - chosen.diagonal(dim1=-2, dim2=-1).sum(dim=-1)) / (number * (number - 1))


def _norm_of_mean(grams: tuple[Tensor, Tensor, Tensor], kept: Tensor) -> float:
    reference, error, mixed = (float(_apart(each, kept)) for each in grams)
    return reference + 2 * mixed + error
