"""The forward pass of a span, in windows between which the graph is cut."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sgrnn.contract.again import drawn_since, put_back, random_states
from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_layout
from sgrnn.cores import beginnings
from sgrnn.cores.dropout import has_recorded, own_masks, recorded_masks, replayed_masks
from sgrnn.estimators.same_again import batch_statistics, draws
from sgrnn.span import Span, Steps, between
from sgrnn.state import State, concatenate, cut, detach, leaves, map_state, rows, where_rows

# On a CPU one batch costs a forward pass more and gains what larger products and fewer calls gain. For LSTMs of 128 to
# 650 units and 10 to 64 rows it was the faster way where T x B is below this (docs/performance.md).
_FEW_STEPS = 128
# How often in succession models were seen to draw, or to change a buffer, when they run. Twice is enough: some do so at
# their first call alone.
_unfit: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


@dataclass(frozen=True)
class Windows:
    """The forward pass of a span of K windows of B rows.

    Args:
        blocks: the model's outputs, (steps, B, ...), each window's attached to its own graph; windows that ran as a
            batch are one block.
        boundaries: the K + 1 boundaries as steps into the span: 0, T, 2T, ..., S.
        initial_states: the windows' first states, leaves of the graph; one state per block, together K x B rows, in the
            order of the windows.
        final_states: the windows' last states, attached to the graph, in the same blocks.
        final_state: the state after the span, B rows, detached.
        model: the model that ran.
        inputs: the inputs that the windows read, leaves where the span's have a graph of their own.
        origin: the span's inputs, with their graph if they have one.
    """

    blocks: list[Any]
    boundaries: list[int]
    initial_states: list[State]
    final_states: list[State]
    final_state: State
    model: nn.Module
    inputs: Steps
    origin: Steps

    @property
    def outputs(self) -> Any:
        """The outputs of all windows, joined to (S, B, ...)."""
        return self.blocks[0] if len(self.blocks) == 1 else map_state(lambda *parts: torch.cat(parts), *self.blocks)

    @property
    def boundary_states(self) -> State:
        """The states at all K + 1 boundaries, (K + 1) x B rows, detached."""
        return concatenate([*map(detach, self.initial_states), self.final_state])


def unroll(model: nn.Module, span: Span, state: State, window: int | None, parallel: bool | None = False) -> Windows:
    """Run a span in windows of `window` steps, of which the last may be shorter; None makes it one window.

    Within a span the weights do not change, so that the windows do not depend on each other backwards. With
    `parallel`, the full windows run once without a graph, to obtain their first states, and then as one batch of
    K x B rows: the same numbers, and a graph T steps deep instead of S. A span in which a sequence begins inside a
    window runs in order nevertheless. Whatever the model draws at random must be `sgrnn.Dropout`, or masks of the
    span (`sgrnn.LockedDropout`). With None it is done where it is faster: on a CPU for small windows, elsewhere always.
    """
    window = min(window or span.steps, span.steps)
    boundaries = [*range(0, span.steps, window), span.steps]
    require_layout(model, span, state, windows={window, span.steps - boundaries[-2]})
    chosen = parallel is None
    if parallel is None:
        few = span.device.type != "cpu" or window * span.batch_size <= _FEW_STEPS
        few = few and span.steps >= 2 * window
        parallel = few and _unfit.get(model, 0) < 2 and batch_statistics(model) is None and own_masks(model) is None
    folded = span.steps // window if parallel and not _starts_inside(span.is_first, window) else 0
    given = span
    if any(tensor.grad_fn is not None for tensor in leaves(span.inputs)):
        span = with_leaves(span)
    caller = Caller(model)
    blocks: list[Any] = []
    initial_states: list[State] = []
    final_states: list[State] = []
    if folded > 1:
        if (name := batch_statistics(model)) is not None:
            raise ValueError(
                f"windows as one batch would have other batch statistics than windows in order, and {name} takes them: "
                "parallel must be False"
            )
        firsts: list[State] = []
        before, random = state, random_states(span.device)
        with torch.no_grad(), recorded_masks(model), kept_buffers(model) as changed:
            for start in range(0, folded * window, window):
                firsts.append(state)
                _, state = _run(caller, span, start, start + window, state)
            does = None if (name := changed()) is None else f"changes its buffer {name}"
        drawn = not has_recorded(model) and drawn_since(random, span.device)
        if does is None and drawn and draws(model, span, before):
            does = "draws random numbers by itself"
        if does is None:
            _unfit.pop(model, None)
        else:
            if not chosen:
                raise ValueError(
                    f"the model {does} when it runs, and would twice where windows run as one batch: parallel must be "
                    "False"
                )
            with replayed_masks(model, folded):  # drops the recorded masks, so that they are drawn anew
                pass
            put_back(random, span.device)
            _unfit[model] = _unfit.get(model, 0) + 1
            return unroll(model, given, before, window)
        first = cut(concatenate(firsts))
        inputs = map_state(lambda steps: _fold(steps[: folded * window], folded), span.inputs)
        is_first = None if span.is_first is None else _fold(span.is_first[: folded * window], folded)
        with replayed_masks(model, folded):
            out, last = run(caller, inputs, first, is_first)
        blocks.append(map_state(lambda steps: _unfold(steps, folded), out))
        initial_states.append(first)
        final_states.append(last)
        left = boundaries[folded:]
    else:
        left = boundaries
    for start, stop in pairwise(left):
        initial_states.append(cut(state))
        out, state = _run(caller, span, start, stop, initial_states[-1])
        blocks.append(out)
        final_states.append(state)
    # Contiguous, as cuDNN wants it: rows of several layers are strided.
    after = map_state(Tensor.contiguous, detach(rows(final_states[-1], -span.batch_size, None)))
    return Windows(blocks, boundaries, initial_states, final_states, after, model, span.inputs, given.inputs)


def run(model: nn.Module | Caller, inputs: Steps, state: State, is_first: Tensor | None = None) -> tuple[Any, State]:
    """Run a model over some steps, putting rows that begin a new sequence back to the initial state.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``, or a `Caller` of it. Without a method
            ``initial_state(batch_size)`` its sequences begin with a state of zeros.
        inputs: (time, batch, ...), or several tensors of that kind.
        state: the state before the first step.
        is_first: (time, batch) bool or None, as in `Span`.
    """
    caller = model if isinstance(model, Caller) else Caller(model)
    if is_first is None or not (begin := is_first.any(dim=1)).any():
        return caller(inputs, state)
    resets = begin.nonzero().flatten().tolist()
    begun = beginnings(caller.model, state, inputs, resets)
    outputs: list[Any] = []
    for start, stop in pairwise(sorted({0, *resets, len(is_first)})):
        if start in begun:
            state = where_rows(is_first[start], begun[start], state)
        out, state = caller(between(inputs, start, stop), state)
        outputs.append(out)
    return map_state(lambda *parts: torch.cat(parts), *outputs), state


def _run(caller: Caller, span: Span, start: int, stop: int, state: State) -> tuple[Any, State]:
    is_first = None if span.is_first is None else span.is_first[start:stop]
    return run(caller, between(span.inputs, start, stop), state, is_first)


def with_leaves(span: Span) -> Span:
    """Return a span whose inputs and targets have no graph: windows may share it, and it is gone through once."""
    inputs, targets = map_state(
        lambda each: each if each.grad_fn is None else cut(each), [span.inputs, span.targets]
    )  # fmt: skip
    return replace(span, inputs=inputs, targets=targets)


def _starts_inside(is_first: Tensor | None, window: int) -> bool:
    if is_first is None:
        return False
    inside = is_first.any(dim=1)
    inside[::window] = False
    return bool(inside.any())


def _fold(steps: Tensor, windows: int) -> Tensor:
    """Reshape (windows x time, batch, ...) to (time, windows x batch, ...)."""
    return steps.unflatten(0, (windows, -1)).transpose(0, 1).flatten(1, 2)


def _unfold(steps: Tensor, windows: int) -> Tensor:
    """Reshape (time, windows x batch, ...) to (windows x time, batch, ...)."""
    return steps.unflatten(1, (windows, -1)).transpose(0, 1).flatten(0, 1)
