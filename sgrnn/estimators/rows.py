"""Which rows of a span's boundaries and windows belong to sequences that go on."""

from itertools import pairwise

import torch
from torch import Tensor

from sgrnn.span import Span


def open_rows_at(span: Span, edges: list[int]) -> Tensor | None:
    """((K + 1) x B,) bool: rows whose sequence goes on across the boundary; None where all do."""
    after = span.future.is_first if span.future is not None else None
    if span.is_first is None and span.is_last is None and after is None:
        return None
    closed = torch.zeros(len(edges), span.batch_size, dtype=torch.bool, device=span.inputs.device)
    if span.is_first is not None:
        closed[:-1] |= span.is_first[edges[:-1]]
    if span.is_last is not None:
        closed[-1] |= span.is_last
    if after is not None:
        closed[-1] |= after[0]
    return ~closed.flatten()


def unbroken_rows(span: Span, edges: list[int]) -> Tensor | None:
    """(K x B, 1) bool: the windows' rows in which no sequence begins after the first step; None where none does."""
    if span.is_first is None:
        return None
    broken = torch.stack([span.is_first[start + 1 : stop].any(dim=0) for start, stop in pairwise(edges)])
    return ~broken.view(-1, 1) if bool(broken.any()) else None
