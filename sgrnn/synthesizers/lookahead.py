"""The steps after the boundaries of a span, as a synthesizer sees them.

A calibrated model's future gradient has nearly zero mean given its state alone, so a synthesizer that sees only
the state has almost nothing to predict. The steps that follow say which way the gradient will point. They are
privileged: training has them, evaluation neither has nor needs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sgrnn.span import Span, Steps
from sgrnn.state import map_state


@dataclass(frozen=True)
class Lookahead:
    """Features and output gradients of the next n steps, for each of R rows at boundaries.

    Args:
        features: (reads, R, feature_size) of the first steps, as many as the synthesizer reads; None if it reads none.
        valid: (n, R) bool, False where a step lies beyond the end of the row's sequence or of what is known; None
            where all are valid. The values at steps that are not valid mean nothing.
        output_gradients: (n, R, output_size) the gradient of each step's loss with respect to the model's outputs
            there, in units of their root mean square; None if the synthesizer does not ask for them.
    """

    features: Tensor | None
    valid: Tensor | None
    output_gradients: Tensor | None = None

    def valid_gradients(self, output_size: int) -> Tensor:
        """Return the output gradients, (n, R, output_size), zero at steps that are not valid.

        Raises:
            ValueError: the model's outputs have another size.
        """
        gradients = self.output_gradients
        assert gradients is not None, "the lookahead has output gradients where the synthesizer reads them"
        if gradients.shape[2] != output_size:
            raise ValueError(
                f"output_size must be {gradients.shape[2]}, the features of the model's outputs at a step, got "
                f"{output_size}"
            )
        return gradients if self.valid is None else gradients * self.valid.unsqueeze(-1)

    def rows(self, start: int, stop: int | None) -> "Lookahead":
        """Return the lookahead of the rows from start up to stop, counted as Python slices count."""
        parts = (self.features, self.valid, self.output_gradients)
        return Lookahead(*(None if part is None else part[:, start:stop] for part in parts))


@dataclass(frozen=True)
class StepsAfter:
    """Indices of the next n steps after each boundary of a span, rows ordered boundary by boundary: R = boundaries x B.

    Args:
        places: (n, boundaries) steps into the span and its future, the last known one where a step is beyond that.
        valid: (n, R) bool, as in `Lookahead`.
    """

    places: Tensor
    valid: Tensor | None

    def take(self, steps: Tensor) -> Tensor:
        """Index a tensor (steps, B, ...) by the places, to (n, R, ...)."""
        return steps[self.places].flatten(1, 2)

    def inputs(self, span: Span) -> Steps:
        """Return the inputs at these steps, (n, R, ...), without a graph."""
        return self._joined([each.inputs for each in (span, span.future) if each is not None])

    def targets(self, span: Span) -> Steps:
        """Return the targets at these steps, (n, R, ...), without a graph."""
        return self._joined([each.targets for each in (span, span.future) if each is not None])

    def _joined(self, parts: list[Steps]) -> Steps:
        return map_state(lambda *steps: self.take(torch.cat([part.detach() for part in steps])), *parts)


def steps_after(span: Span, boundaries: Sequence[int], steps: int, *, within: bool = False) -> StepsAfter:
    """Return the indices of the next steps after each boundary of a span.

    Args:
        span: with its future.
        boundaries: as steps into the span.
        steps: n, how many steps to look at.
        within: True to count the steps from the next boundary on as not valid.
    """
    known = span.steps + (0 if span.future is None else span.future.steps)
    places, in_reach = _places(tuple(boundaries), steps, known, within)
    places = places.to(span.device)
    valid = None if in_reach is None else in_reach.to(places.device).repeat_interleave(span.batch_size, dim=1)
    same = _same_sequence(span, places)
    if same is not None:
        valid = same if valid is None else valid & same
    return StepsAfter(places, valid)


@lru_cache(maxsize=64)
def _places(boundaries: tuple[int, ...], steps: int, known: int, within: bool) -> tuple[Tensor, Tensor | None]:
    """Return the indices of the steps ahead, and True where they are known, (n, K + 1); None where all are."""
    places = torch.arange(steps).unsqueeze(1) + torch.tensor(boundaries)
    in_reach = places < (torch.tensor([*boundaries[1:], known]) if within else known)
    return places.clamp(max=known - 1), None if bool(in_reach.all()) else in_reach


def _same_sequence(span: Span, places: Tensor) -> Tensor | None:
    """True (n, R) where no sequence begins or ends between boundary and step; None where none does at all."""
    parts = [span] if span.future is None else [span, span.future]
    marks = [span.is_last, *(part.is_first for part in parts), *(part.mask for part in parts)]
    if all(mark is None for mark in marks):
        return None
    breaks = torch.cat([part.breaks() for part in parts])
    if span.is_last is not None and span.future is not None:
        breaks[span.steps] |= span.is_last
    crossed = breaks[places].long()  # (n, K + 1, B)
    return (crossed.cumsum(dim=0) == 0).flatten(1, 2)
