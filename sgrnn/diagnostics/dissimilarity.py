"""Representational dissimilarity, to compare two networks by (Kriegeskorte et al. 2008; Czarnecki et al. 2017)."""

from math import nan

import torch
from torch import Tensor


def dissimilarities(states: Tensor) -> Tensor:
    """Return the representational dissimilarities of R states (R, features): 1 - the correlation of every two rows.

    >>> dissimilarities(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])).round(decimals=3)
    tensor([[0., 0., 2.],
            [0., 0., 2.],
            [2., 2., 0.]])
    """
    centered = states - states.mean(dim=1, keepdim=True)
    unit = centered / centered.norm(dim=1, keepdim=True).clamp(min=torch.finfo(states.dtype).tiny)
    return (1 - unit @ unit.T).clamp(0, 2).fill_diagonal_(0)


def agreement(one: Tensor, other: Tensor) -> float:
    """Return Spearman's rank correlation of two dissimilarity matrices of the same inputs, over all pairs of rows.

    1: what is near for the one network is near for the other; about 0: they have nothing in common. Not a number where
    all rows of one are equally far apart, as states that hold nothing are. Equal distances share the mean of their
    ranks.

    Raises:
        ValueError: they are not of one size, or of fewer than three rows.
    """
    if one.shape != other.shape or len(one) < 3:
        raise ValueError(f"matrices must be of the same three or more rows, got {len(one)} and {len(other)}")
    above = torch.triu_indices(len(one), len(one), offset=1)
    ranks = [_ranks(matrix[above[0], above[1]]) for matrix in (one, other)]
    if any(bool((each == each[0]).all()) for each in ranks):
        return nan
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    """Return ranks; equal values, up to rounding in single precision, share the mean of the places that they take."""
    _, group, counts = values.round(decimals=6).unique(return_inverse=True, return_counts=True)
    counts = counts.double()
    return (counts.cumsum(dim=0) - (counts - 1) / 2)[group]
