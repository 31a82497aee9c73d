"""What training already knows about the steps after a boundary, and how a synthesizer reads it.

A calibrated model's future gradient has nearly zero mean given its state alone, so a synthesizer that sees only
the state has almost nothing to predict. The steps that follow say which way the gradient will point. They are
privileged: training has them, evaluation neither has nor needs them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from sgrnn.span import Span
from sgrnn.synthesizers.features import borrowed, require_feature_size

Features = Callable[[Tensor, Tensor], Tensor]  # inputs, targets (steps, rows, ...) -> (steps, rows, feature_size)


@dataclass(frozen=True)
class Lookahead:
    """The next n steps at each of R boundary rows.

    Args:
        inputs: (n, R, ...) what the model will read.
        targets: (n, R, ...) what it will be compared with.
        valid: (n, R) bool, False where a step lies beyond the end of the row's sequence or of what is known; None
            where all are valid. The values at steps that are not valid mean nothing.
        errors: (n, R, error_size) the gradient of each step's loss with respect to the model's outputs there, in
            units of their root mean square; None if the synthesizer does not ask for them.
    """

    inputs: Tensor
    targets: Tensor
    valid: Tensor | None
    errors: Tensor | None = None

    def rows(self, start: int, stop: int | None) -> "Lookahead":
        """The same steps at some of the rows, counted as Python slices count."""
        chosen = slice(start, stop)
        valid = None if self.valid is None else self.valid[:, chosen]
        errors = None if self.errors is None else self.errors[:, chosen]
        return Lookahead(self.inputs[:, chosen], self.targets[:, chosen], valid, errors)


def look_ahead(
    span: Span, edges: list[int], steps: int, errors: Tensor | None = None, *, within: bool = False
) -> Lookahead:
    """The next steps after each boundary of a span, rows ordered boundary by boundary: R = len(edges) x B.

    Args:
        span: with its future.
        edges: the boundaries, as steps into the span.
        steps: n, how many steps to look at.
        errors: (S + as much of n as is known, B, error_size), or None.
        within: whether the steps from the next boundary on are not valid.
    """
    future = span.future
    inputs, targets = span.inputs.detach(), span.targets.detach()
    if future is not None:
        inputs = torch.cat([inputs, future.inputs.detach()])
        targets = torch.cat([targets, future.targets.detach()])
    index, in_reach = _places(tuple(edges), steps, inputs.shape[0], within)
    index = index.to(inputs.device)
    valid = None if in_reach is None else in_reach.to(inputs.device).repeat_interleave(span.batch_size, dim=1)
    same = _same_sequence(span, index)
    if same is not None:
        valid = same if valid is None else valid & same
    seen = None if errors is None else errors[index].flatten(1, 2)
    return Lookahead(inputs[index].flatten(1, 2), targets[index].flatten(1, 2), valid, seen)


@lru_cache(maxsize=64)
def _places(edges: tuple[int, ...], steps: int, known: int, within: bool) -> tuple[Tensor, Tensor | None]:
    """(n, K + 1) the steps to look at, and which of them are known; None if all are. The same for most spans."""
    index = torch.arange(steps).unsqueeze(1) + torch.tensor(edges)
    in_reach = index < (torch.tensor([*edges[1:], known]) if within else known)
    return index.clamp(max=known - 1), None if bool(in_reach.all()) else in_reach


def _same_sequence(span: Span, index: Tensor) -> Tensor | None:
    """(n, R) True where no sequence begins between the boundary and the step; None where none begins at all."""
    beginnings = [span.is_first, None if span.future is None else span.future.is_first]
    if all(is_first is None for is_first in beginnings) and span.is_last is None:
        return None
    lengths = [span.steps, 0 if span.future is None else span.future.steps]
    is_first = torch.cat(
        [
            torch.zeros(length, span.batch_size, dtype=torch.bool, device=index.device) if known is None else known
            for known, length in zip(beginnings, lengths, strict=True)
        ]
    )
    if span.is_last is not None and lengths[1]:
        is_first[span.steps] |= span.is_last
    crossed = is_first[index].long()  # (n, K + 1, B)
    return (crossed.cumsum(dim=0) == 0).flatten(1, 2)


class TokenFeatures(nn.Module):
    """Embeddings of a synthesizer's own for the input and the target token of each step.

    Args:
        vocabulary_size: number of tokens.
        size: features per token; a step has twice as many.
    """

    def __init__(self, vocabulary_size: int, size: int) -> None:
        super().__init__()
        self.inputs = nn.Embedding(vocabulary_size, size)
        self.targets = nn.Embedding(vocabulary_size, size)
        self.feature_size = 2 * size

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.cat([self.inputs(inputs), self.targets(targets)], dim=-1)


def vector_features(inputs: Tensor, targets: Tensor) -> Tensor:
    """The features of steps whose inputs and targets are vectors already: both, side by side."""
    both = torch.cat([inputs, targets], dim=-1)
    return both if both.is_floating_point() else both.to(torch.get_default_dtype())


class LookaheadEncoder(nn.Module):
    """Reads n upcoming steps as one vector: each step's features projected, the steps side by side.

    Args:
        steps: n, how many steps are looked at.
        features: from inputs and targets (n, R, ...) to features (n, R, feature_size): `TokenFeatures`,
            `vector_features`, or ``LanguageModel.token_features``, which sees tokens through the model's own
            embeddings.
        feature_size: as `features` gives.
        projection: features a step is reduced to by a learned linear map, one for each place; None leaves the
            features as they are.
    """

    def __init__(self, steps: int, features: Features, feature_size: int, projection: int | None = None) -> None:
        super().__init__()
        _check(steps)
        self.steps, self.features, self.feature_size = steps, borrowed(features), feature_size
        self.output_size = steps * (projection or feature_size)
        self.weight = None
        if projection is not None:
            bound = feature_size**-0.5
            self.weight = nn.Parameter(torch.empty(steps, feature_size, projection).uniform_(-bound, bound))

    def forward(self, lookahead: Lookahead) -> Tensor:
        """(R, output_size)."""
        features = _masked_features(self.features, self.feature_size, lookahead)
        if self.weight is not None:
            features = torch.bmm(features.to(self.weight), self.weight)
        return features.transpose(0, 1).flatten(1)


class RecurrentLookahead(nn.Module):
    """Reads n upcoming steps by a GRU, the furthest first, so that the nearest is freshest in its memory.

    Args:
        steps: n, how many steps are looked at.
        features: as in `LookaheadEncoder`.
        feature_size: as `features` gives.
        hidden_size: features of the result.
    """

    def __init__(self, steps: int, features: Features, feature_size: int, hidden_size: int) -> None:
        super().__init__()
        _check(steps)
        self.steps, self.features, self.feature_size = steps, borrowed(features), feature_size
        self.output_size = hidden_size
        self.encoder = nn.GRU(feature_size, hidden_size)

    def forward(self, lookahead: Lookahead) -> Tensor:
        """(R, output_size)."""
        features = _masked_features(self.features, self.feature_size, lookahead)
        _, last = self.encoder(features.to(self.encoder.all_weights[0][0]).flip(0))
        return last[0]


def _masked_features(features: Features, size: int, lookahead: Lookahead) -> Tensor:
    found = features(lookahead.inputs, lookahead.targets)
    require_feature_size(found, size)
    return found if lookahead.valid is None else found * lookahead.valid.unsqueeze(-1)


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a lookahead must be at least 1 step, got {steps}; leave the encoder out for none")
