"""Where one model is better than another: by how frequent a token is, and by its place in the line."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sgrnn.diagnostics.estimates import Estimate, jackknife

_BLOCKS = 20  # of consecutive tokens, for standard errors


class Groups(NamedTuple):
    """Tokens divided into groups.

    Args:
        names: of the groups.
        members: (N,) the group of each token, an index into the names.
    """

    names: list[str]
    members: Tensor


@dataclass(frozen=True)
class Difference:
    """How two models differ by group.

    Args:
        names: of the groups that have tokens.
        counts: (groups,) tokens.
        mean: (groups,) the other's loss less the one's, per token: above 0 where the one is better.
        share: (groups,) of the whole difference that falls on the group; they add up to 1.
    """

    names: list[str]
    counts: Tensor
    mean: Estimate
    share: Tensor


def loss_difference(one: Tensor, other: Tensor, groups: Groups) -> Difference:
    """Compare the losses (N,) that two models have on the same tokens.

    Raises:
        ValueError: they are not of the same tokens.
    """
    if not one.shape == other.shape == groups.members.shape:
        raise ValueError(
            f"losses and groups must be of the same tokens, got {len(one)}, {len(other)} and {len(groups.members)}"
        )
    better = (other - one).double()
    sums = torch.zeros(_BLOCKS, 2, len(groups.names), dtype=torch.float64)
    blocks = torch.arange(len(one)) * _BLOCKS // max(len(one), 1)
    sums[:, 0].index_put_((blocks, groups.members), better, accumulate=True)
    sums[:, 1].index_put_((blocks, groups.members), torch.ones_like(better), accumulate=True)
    counts = sums[:, 1].sum(dim=0)
    kept = counts > 0
    mean = jackknife(sums[:, :, kept], lambda each: each[0] / each[1])
    whole = sums[:, 0].sum(dim=0)[kept]
    return Difference(
        [name for name, has in zip(groups.names, kept, strict=True) if has], counts[kept], mean, whole / whole.sum()
    )  # fmt: skip


def by_frequency(tokens: Tensor, train: Tensor, vocabulary_size: int) -> Groups:
    """Groups of how often a token stands in the train text, by powers of ten.

    >>> by_frequency(torch.tensor([0, 1, 2]), torch.tensor([0] * 12 + [1]), 3)
    Groups(names=['never', '1 to 9', '10 to 99'], members=tensor([2, 1, 0]))
    """
    counts = torch.bincount(train, minlength=vocabulary_size)[tokens]
    members = torch.where(counts > 0, (counts.clamp(min=1).double() + 0.5).log10().floor().long() + 1, 0)
    names = ["never"] + [f"{10**power:,} to {10 ** (power + 1) - 1:,}" for power in range(int(members.max()))]
    return Groups(names, members)


def by_place(tokens: Tensor, line_end: int) -> Groups:
    """Groups of how many tokens of its line come before a token, doubling in width.

    >>> by_place(torch.tensor([5, 6, 7, 0, 5, 0]), line_end=0)
    Groups(names=['0', '1 to 2', '3 to 6'], members=tensor([0, 1, 1, 2, 0, 1]))
    """
    index = torch.arange(len(tokens))
    is_first = torch.cat([torch.ones(1, dtype=torch.bool), tokens[:-1] == line_end])
    place = index - torch.where(is_first, index, 0).cummax(dim=0).values
    members = (place + 1).double().log2().add(1e-9).floor().long()
    names = [_span(2**power - 1, 2 ** (power + 1) - 2) for power in range(int(members.max()) + 1)]
    return Groups(names, members)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
