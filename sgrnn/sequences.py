"""Spans of anybody's data: tensors, arrays, or the batches of a DataLoader."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from sgrnn.errors import at_least
from sgrnn.span import Span, Steps
from sgrnn.state import map_state, rebuilt

_BATCH = "(inputs, targets) or (inputs, targets, lengths)"


def spans(
    inputs: Any,
    targets: Any = None,
    *,
    steps: int,
    lookahead: int = 0,
    batch_first: bool = False,
    is_first: Any = None,
    lengths: Sequence[int] | np.ndarray | Tensor | None = None,
    stateful: bool = False,
) -> Iterator[Span]:
    """Divide sequences into consecutive spans, each with as much of its future as an estimator looks ahead.

    All rows begin a sequence with the first span and end with the last, so that the loop needs to reset nothing: where
    `Span.is_first` is True the estimator puts the state back.

    Args:
        inputs: (time, batch, ...), tensors or arrays; several of a step as a tuple or dict of such. Or, without
            `targets`, an iterable of batches such as a DataLoader: (inputs, targets) or (inputs, targets, lengths).
        targets: (time, batch, ...), for every step.
        steps: of a span; the last of the sequences may have fewer.
        lookahead: an estimator's `lookahead`.
        batch_first: True where the data are (batch, time, ...); spans are time first all the same.
        is_first: (time, batch) bool, as the data are laid out; True where a sequence begins besides at the first step.
        lengths: steps of each row, where rows have fewer than the data: what follows is padding, no part of the loss,
            and of no concern whatever its values.
        stateful: True where each batch of an iterable goes on where the one before it ended, row by row, but for rows
            that ended in padding; else all rows begin anew with each batch.

    Raises:
        TypeError: the data are no tensors or arrays.
        ValueError: shapes do not agree, a length is out of range, or there is nothing.

    >>> for span in spans(torch.arange(5.0).view(5, 1), torch.zeros(5, 1), steps=2, lookahead=1):
    ...     print(span.inputs.flatten().tolist(), span.future and span.future.inputs.flatten().tolist(), span.is_last)
    [0.0, 1.0] [2.0] None
    [2.0, 3.0] [4.0] None
    [4.0] None tensor([True])
    """
    at_least("steps", steps, 1, "step")
    at_least("lookahead", lookahead, 0, "steps")
    if targets is not None:
        if stateful:
            raise ValueError("stateful is for an iterable of batches; tensors are one sequence a row already")
        whole = _whole(inputs, targets, lengths, is_first, batch_first=batch_first)
        return iter(whole.divide(steps, lookahead))
    if is_first is not None or lengths is not None:
        raise ValueError(f"is_first and lengths go with targets; an iterable of batches gives {_BATCH}")
    if isinstance(inputs, Tensor | np.ndarray) or not isinstance(inputs, Iterable):
        raise TypeError(f"targets are missing: give them, or an iterable of batches, each {_BATCH}")
    batches = _batches(inputs, batch_first, stateful)
    return _joined(batches, steps, lookahead) if stateful else _apart(batches, steps, lookahead)


def _batches(batches: Iterable[Any], batch_first: bool, stateful: bool) -> Iterator[Span]:
    """Yield each batch as one span, and name the batch in which something is wrong."""
    number = 0
    for number, batch in enumerate(batches, start=1):
        try:
            span = _whole(*_parts(batch), batch_first=batch_first, stateful=stateful)
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch {number}: {error}") from None
        yield span
    if not number:
        raise ValueError(
            "there are no batches: an iterator that was gone through before, or a DataLoader with drop_last and too "
            "few rows"
        )


def _apart(batches: Iterable[Span], steps: int, lookahead: int) -> Iterator[Span]:
    for batch in batches:
        yield from batch.divide(steps, lookahead)


def _joined(batches: Iterable[Span], steps: int, lookahead: int) -> Iterator[Span]:
    """Yield the spans of batches that go on in one another, holding back what a span's future may need."""
    rest: Span | None = None
    for batch in batches:
        if rest is not None:
            if batch.batch_size != rest.batch_size:
                raise ValueError(
                    f"batches that go on in one another must have as many rows, {rest.batch_size}, got "
                    f"{batch.batch_size}: drop the last one (drop_last=True), or leave out stateful"
                )
            batch = _continued(rest, batch)
        rest, whole = batch, max(batch.steps - max(lookahead, 1), 0) // steps * steps
        if whole:  # at least one step is left: it is not known yet where the rows end
            yield from (batch.slice(start, start + steps, lookahead) for start in range(0, whole, steps))
            rest = batch.slice(whole, batch.steps)
        # A copy, since the next batch may be written where this one lies.
        rest = replace(rest, inputs=map_state(Tensor.clone, rest.inputs), targets=map_state(Tensor.clone, rest.targets))
    if rest is not None:
        yield from replace(rest, is_last=torch.ones_like(rest.marked_first()[0])).divide(steps, lookahead)


def _continued(span: Span, following: Span) -> Span:
    """Join two spans of which the second goes on where the first ends, but in rows that ended in padding."""
    span.require_same_kind(following, "later ")
    is_first = following.marked_first().clone()
    is_first[0] = False
    return Span.join([span, replace(following, is_first=is_first)])


def _parts(batch: Any) -> tuple[Any, Any, Any]:
    """Return inputs, targets and lengths or None."""
    if isinstance(batch, tuple | list) and len(batch) in (2, 3):
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None
    found = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
    raise TypeError(f"a batch must be {_BATCH}, got {found}")


def _whole(
    inputs: Any, targets: Any, lengths: Any = None, is_first: Any = None, *, batch_first: bool, stateful: bool = False
) -> Span:
    """Return sequences as one span, which all rows begin and end with; with `stateful` those end that are padded."""
    span = Span(time_first("inputs", inputs, batch_first), time_first("targets", targets, batch_first))
    if is_first is not None:
        span = replace(span, is_first=time_first("is_first", is_first, batch_first).to(span.device))
    first = span.marked_first().clone()
    first[0] = True
    last = torch.full_like(first[0], not stateful)
    span = replace(span, is_first=first, is_last=last)
    return span if lengths is None else _padded(span, lengths)


def time_first(name: str, steps: Any, batch_first: bool = False) -> Steps:
    """Return data as tensors, time first.

    Raises:
        TypeError: they are no tensors or arrays of numbers.
        ValueError: they have less than two axes.
    """
    if isinstance(steps, PackedSequence):
        raise TypeError(f"{name} must not be packed: give the padded tensor, and lengths=")
    if np.ma.is_masked(steps):
        raise TypeError(f"{name} must not be masked, whose numbers behind the mask would count: fill them (filled)")
    if isinstance(steps, dict):
        return rebuilt(steps, [time_first(f"{name}[{key!r}]", each, batch_first) for key, each in steps.items()])
    if isinstance(steps, tuple | list):
        if any(isinstance(each, int | float) for each in steps):
            raise TypeError(f"{name} must be a tensor or an array, got a list of numbers: torch.tensor makes one")
        return rebuilt(steps, [time_first(f"{name}[{place}]", each, batch_first) for place, each in enumerate(steps)])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable", UserWarning)  # such as a memory map; nobody writes
            tensor = torch.as_tensor(steps)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be a tensor or an array of numbers, got a {type(steps).__name__}: {error}"
        ) from None
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "nested" if tensor.is_nested else "sparse"
        raise TypeError(
            f"{name} must not be {kind}: give the padded or dense tensor, and lengths= where rows have fewer"
        )
    if tensor.dim() < 2:
        order = "(batch, time, ...)" if batch_first else "(time, batch, ...)"
        raise ValueError(f"{name} must be {order}, got {tuple(tensor.shape)}")
    if tensor.is_meta:
        raise ValueError(f"{name} lies on the device meta, which holds no numbers")
    return tensor.transpose(0, 1) if batch_first else tensor


def _padded(span: Span, lengths: Any) -> Span:
    """Return a span, cut to its longest row, whose rows have so many steps: zeros in the place of what follows.

    Rows with fewer than all steps end.
    """
    each = f"lengths must be one whole number for each of {span.batch_size} rows, got"
    try:
        counts = torch.as_tensor(lengths, device=span.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{each} a {type(lengths).__name__}: {error}") from None
    if counts.shape != (span.batch_size,) or counts.is_floating_point() or counts.dtype == torch.bool:
        raise ValueError(f"{each} {tuple(counts.shape)} in {counts.dtype}")
    counts = counts.long()  # torch does little with unsigned types
    if bool((counts < 1).any()) or bool((counts > span.steps).any()):
        raise ValueError(f"lengths must be between 1 and {span.steps}, the steps there are, got {counts.tolist()}")
    longest = int(counts.max())
    ended = counts < span.steps
    span = replace(span.slice(0, longest), is_last=ended if span.is_last is None else ended | span.is_last, future=None)
    mask = torch.arange(longest, device=span.device).unsqueeze(1) < counts
    if bool(mask.all()):
        return span

    def blank(steps: Tensor) -> Tensor:  # a padded NaN would reach the gradients, a padded -1 has no embedding
        real = mask.view(*mask.shape, *[1] * (steps.dim() - 2)).to(steps.device)
        return steps.where(real, steps.new_zeros(()))

    return replace(span, inputs=map_state(blank, span.inputs), targets=map_state(blank, span.targets), mask=mask)
