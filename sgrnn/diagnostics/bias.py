"""Systematic error of a gradient estimator, from inner products of mean parameter gradients."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sgrnn.diagnostics.estimates import Estimate, is_unknown, spread
from sgrnn.diagnostics.horizon import crossing_point

ESTIMATOR = "estimator"
_ROUNDING = 1e-6  # of float32, in which gradients are summed


@dataclass(frozen=True)
class Bias:
    """Inner products of mean gradients, from which all metrics of their systematic error follow.

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
        """Names along the first axis of the metrics: the estimator, then truncation with each window."""
        return [ESTIMATOR, *(f"T={window}" for window in self.windows)]

    def relative_error(self) -> Estimate:
        """Relative error (contenders, tensors) of the mean gradient, |mean d| / |mean r|."""
        return self._leave_out(self._relative_error)

    def cosine(self) -> Estimate:
        """Cosine (contenders, tensors) of the mean gradient with the mean of the reference.

        An estimate without the noise of means can come out beyond 1 or -1 (`cosine_outside`); it counts as that then.
        Not a number where the mean gradient is nothing but noise. Standard errors are those of the estimate.
        """
        value, error = self._leave_out(self._cosine)
        return Estimate(value.clamp(-1, 1), error)

    def cosine_outside(self) -> Tensor:
        """True (contenders, tensors) where noise takes the estimate of a cosine beyond 1 or -1, but for rounding."""
        return self._cosine(self._all).abs() > 1 + _ROUNDING

    def noise_ratio(self) -> Tensor:
        """Minibatch noise (tensors,): the distance of one update's gradient from its mean, over |mean r|."""
        return (self.noise / self._reference(self._all)).sqrt()

    def updates_to_show(self) -> Tensor:
        """Number (contenders, tensors) of updates after which averaged noise is as small as the bias.

        An optimizer that averages over fewer sees noise, and the bias hardly matters; infinite where there is none.
        """
        return (self.noise_ratio() / self.relative_error().value).square()

    def equivalent_window(self) -> Estimate:
        """Window at which plain truncation has the estimator's error, interpolated in log T.

        The standard error is not one of the interpolation, which is as good as the windows around it are near
        (`windows_around`): compare with those too, and join both (`joined`).

        Not below the smallest nor above the largest window that was compared (`equivalent_window_text`). Not a number
        where the reference is nothing but noise.

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

    def equivalent_window_text(self) -> str:
        """Return the equivalent window as text, never rounded up, with a note where it is not known.

        Raises:
            ValueError: no windows were compared.
        """
        value, error = self.equivalent_window()
        if value.isnan():
            return "not to be told from noise"
        known = error.isfinite() and not is_unknown(float(value), float(error))
        outside = self.outside()
        if outside is not None:
            text = f"worth {outside} than T={self.windows[0 if outside == 'less' else -1]}"
        else:
            text = f"worth T={value:.1f}" + (f" ± {error:.1f}" if error.isfinite() else "")
            if known and not any(abs(window - value) < 0.05 for window in self.windows):
                below, above = self._around(float(value))
                text += f" (between {below} and {above})"
        return text if known else f"{text} (which is not known from so few spans: take more)"

    def outside(self) -> str | None:
        """Return "less" or "more" where the estimator is worth less, or more, than any window compared; else None.

        Errors go up and down together, so that what must be above two standard errors, and rounding, is their
        difference from the estimator's: at T=1 or T of a whole stretch an estimator lies on an end itself. That of the
        squares, as an error that counts as 0 hides its noise.

        Raises:
            ValueError: no windows were compared.
        """
        if not self.windows:
            raise ValueError("windows must be at least one to compare with, got none")

        def statistic(kept: Tensor) -> Tensor:
            square = apart(self.errors[:, 0], kept) / self._reference(kept)[0]
            return torch.stack([square[0] - square[1], square[-1] - square[0]])

        value, error = self._leave_out(statistic)
        less, more = (value > 2 * error + _ROUNDING).tolist()
        return "less" if less else "more" if more else None

    def windows_around(self, most: int = 4) -> list[int]:
        """Return at most `most` whole windows between the two around the equivalent window, evenly spaced in ratio.

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
        """Return this bias joined with that of the same estimator on the same spans against other windows.

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
        dot = apart(self.mixed, kept)
        square = reference + 2 * dot + apart(self.errors, kept)
        return (reference + dot) / (torch.where(square > 0, square, torch.nan) * reference).sqrt()

    def _relative_error(self, kept: Tensor) -> Tensor:
        return (apart(self.errors, kept).clamp(min=0) / self._reference(kept)).sqrt()

    def _reference(self, kept: Tensor) -> Tensor:
        """Squared norm of the mean reference, not a number where there is nothing but noise."""
        square = apart(self.reference, kept)
        return torch.where(square > 0, square, torch.nan)

    def _leave_out(self, statistic: Callable[[Tensor], Tensor]) -> Estimate:
        value = statistic(self._all)
        groups = len(self._all)
        if groups < 3:  # two different ones are needed for a squared norm
            return Estimate(value, torch.full_like(value, torch.nan))
        every = torch.arange(groups)
        return Estimate(value, spread(torch.stack([statistic(every != group) for group in range(groups)])))


def apart(products: Tensor, kept: Tensor) -> Tensor:
    """Return the average of inner products (..., G, G) over pairs of different groups, of those kept."""
    chosen = products[..., kept, :][..., kept]
    number = chosen.shape[-1]
    return (chosen.sum(dim=(-2, -1)) - chosen.diagonal(dim1=-2, dim2=-1).sum(dim=-1)) / (number * (number - 1))
