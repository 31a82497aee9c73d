"""The core whose levels, cores themselves, tick at different rates."""

from collections.abc import Sequence
from math import lcm
from typing import TypeVar

import torch
from torch import Tensor, nn

from sgrnn.contract.modules import hidden_size, input_size, tensor_of
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.initial import initial_state
from sgrnn.cores.locked import LockedDropout
from sgrnn.cores.ticks import Chunks, check_periods, chunks, single_steps, ticks_below
from sgrnn.errors import at_least
from sgrnn.state import State, put_rows, take_rows
from sgrnn.synthesizers.interface import Interface, alongside

_Value = TypeVar("_Value")


class HierarchicalCore(nn.Module):
    """Core of recurrent levels, of which the k-th takes a step (ticks) at every p_k-th step of a sequence.

    At step t = 1, 2, ... of a row's sequence, from the fastest level up, each that ticks (p_k divides t):

        y_0, s_0 = level_0([x_t, m_0], s_0)                                    also the output
        y_k, s_k = level_k([mean of y_{k-1} since the last tick, m_k], s_k)
        m_{k-1}  = W_k y_k, or y_k itself                                      in force until the next tick

    A level is conditioned by the one above it through the message m that it reads beside its input, zero before the
    first tick; the slowest has none. What a level sends up is the mean of its outputs since the level above ticked.
    With all periods 1 this is a stack with feedback: each level reads what the one above it gave a step ago.

    The state is a dict: ``phase`` (batch, 1), the steps of the sequence modulo `cycle`, after which all ticks come
    round again, an integer without a gradient; ``messages`` in force and ``summaries``, the sums of outputs since the
    last tick, a (batch, features) tensor for each pair of levels; ``slow`` and ``fast``, the states of the levels above
    the fastest and of the fastest. So every row has its own phase, and spans and windows may begin and end anywhere.

    Between two ticks a level runs over all steps at once by its own kernel. Rows of different phases run side by side:
    the fastest level up to the next tick of any row, a slower one for the rows that tick. The phases are read once per
    call, which on a GPU is one synchronization.

    >>> from sgrnn.cores import LSTM
    >>> core = HierarchicalCore([LSTM(3 + 8, 5), LSTM(5, 8)], periods=[1, 4])
    >>> outputs, state = core(torch.zeros(6, 2, 3), core.initial_state(batch_size=2))
    >>> outputs.shape, state["phase"].flatten().tolist()
    (torch.Size([6, 2, 5]), [2, 2])

    Args:
        levels: two or more cores, the fastest first, with the attributes ``input_size`` and ``hidden_size`` (that of
            their outputs), as those of this package and of torch have them. A level reads its input, then its message:
            level 0 the features of a step, a higher one the outputs of the level below.
        periods: p_k in steps, the first 1, each at least that of the level below; it need not be a multiple of it.
        message_sizes: for each level but the slowest the features of its message, by a learned linear map from the
            outputs of the level above; None, for one or all, for these outputs themselves.
        interfaces: for each level but the slowest what its summary goes up through (`sgrnn.Interface`), or None for
            the real gradient. They stay the caller's: their parameters are not among this module's, to be trained by
            an optimizer of their own.

    Raises:
        ValueError: periods that are not positive or decrease, numbers of levels, periods, messages or interfaces that
            do not agree, or a level that cannot read its message; the text names it.
    """

    def __init__(
        self,
        levels: Sequence[nn.Module],
        periods: Sequence[int],
        *,
        message_sizes: Sequence[int | None] | None = None,
        interfaces: Sequence[Interface | None] | None = None,
    ) -> None:
        super().__init__()
        check_periods(len(levels), periods)
        sizes = [hidden_size(level, f"levels[{number}]") for number, level in enumerate(levels)]
        self.periods = tuple(periods)
        self.cycle = lcm(*(period * getattr(level, "cycle", 1) for period, level in zip(periods, levels, strict=True)))
        self.hidden_size = sizes[0]
        maps = _one_each("message_sizes", message_sizes, len(levels) - 1)
        self.message_sizes = [above if size is None else size for above, size in zip(sizes[1:], maps, strict=True)]
        self.summary_sizes = sizes[:-1]
        self.input_size = _check_sizes(levels, self.message_sizes, self.summary_sizes)
        self.levels = nn.ModuleList(levels)
        self.condition = nn.ModuleList(
            nn.Identity() if size is None else nn.Linear(above, size, bias=False)
            for above, size in zip(sizes[1:], maps, strict=True)
        )
        self.interfaces = _one_each("interfaces", interfaces, len(levels) - 1)  # a list: not registered
        for level, (interface, size) in enumerate(zip(self.interfaces, self.summary_sizes, strict=True)):
            if interface is not None and interface.message_size not in (size, None):
                raise ValueError(
                    f"interfaces[{level}] must predict for the {size} outputs of level {level}, got a synthesizer for "
                    f"{interface.message_size}"
                )

    def initial_state(self, batch_size: int) -> State:
        """Return the state before a sequence's first step: phase 0, messages and sums zero, the levels in their own."""
        like = tensor_of(self)
        return {
            "phase": torch.zeros(batch_size, 1, dtype=torch.long, device=like.device),
            "messages": tuple(like.new_zeros(batch_size, size) for size in self.message_sizes),
            "summaries": tuple(like.new_zeros(batch_size, size) for size in self.summary_sizes),
            "slow": tuple(initial_state(level, batch_size) for level in self.levels[1:]),
            "fast": initial_state(self.levels[0], batch_size),
        }

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run the core over a window, and return its outputs and the state after it.

        Args:
            inputs: (time, batch, input_size).
            state: as `initial_state` gives, which stands for None.

        Returns:
            outputs (time, batch, hidden_size) of the fastest level, and the state after the last step.

        Raises:
            ValueError: windows are to run as one batch and a level has dropout in it, or a level has locked dropout.
        """
        self._refuse_rows_of_their_own()
        state = self.initial_state(inputs.shape[1]) if state is None else state
        return self._run(inputs, state, chunks(self.periods, state["phase"], inputs.shape[0]))

    def forward_plain(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run a window, with the results of `forward`, by operations that do not depend on the phases.

        Every level runs at every step, and its outputs are dropped where it does not tick, so that ``torch.func`` can
        transform it. Slow, and without interfaces.
        """
        state = self.initial_state(inputs.shape[1]) if state is None else state
        return self._run(inputs, state, single_steps(self.periods, state["phase"], inputs.shape[0]), interfaces=False)

    def _run(self, inputs: Tensor, state: State, chunks: Chunks, *, interfaces: bool = True) -> tuple[Tensor, State]:
        messages, sums = list(state["messages"]), list(state["summaries"])
        states = [state["fast"], *state["slow"]]
        outputs: list[Tensor] = []
        start = 0
        for stop, ticks in chunks:
            out, states[0] = self.levels[0](_beside(inputs[start:stop], messages[0]), states[0])
            sums[0] = sums[0] + out.sum(dim=0)
            for tick in ticks:
                level, rows, below = tick.level, tick.rows, tick.level - 1
                summary = take_rows(sums[below], rows) / ticks_below(self.periods, tick, inputs.device)
                sums[below] = put_rows(sums[below], rows, torch.zeros_like(summary))
                interface = self.interfaces[below] if interfaces else None
                if interface is not None:
                    summary, reply = interface(summary)
                    out = alongside(out, reply)
                reading, slowest = summary.unsqueeze(0), level == len(messages)
                if not slowest:
                    reading = _beside(reading, take_rows(messages[level], rows))
                level_outputs, after = self.levels[level](reading, take_rows(states[level], rows))
                states[level] = put_rows(states[level], rows, after)
                messages[below] = put_rows(messages[below], rows, self.condition[below](level_outputs[0]))
                if not slowest:
                    sums[level] = put_rows(sums[level], rows, take_rows(sums[level], rows) + level_outputs[0])
            outputs.append(out)
            start = stop
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs), {
            "phase": (state["phase"] + inputs.shape[0]) % self.cycle,
            "messages": tuple(messages),
            "summaries": tuple(sums),
            "slow": tuple(states[1:]),
            "fast": states[0],
        }

    def _refuse_rows_of_their_own(self) -> None:
        for name, module in self.levels.named_modules():
            if isinstance(module, LockedDropout) and module.drops:
                raise ValueError(
                    f"levels read some rows of a span at a time, which masks that are locked to its rows do not fit: "
                    f"locked_dropout must be False in levels.{name}"
                )
            if isinstance(module, Dropout) and module.p > 0 and module.training and module.recording is not None:
                raise ValueError(
                    f"running windows as one batch needs levels without dropout, whose masks would come in another "
                    f"order there, got {module.p} in levels.{name}"
                )

    def extra_repr(self) -> str:
        return f"periods={self.periods}"


def require_no_interfaces(model: nn.Module, reason: str) -> None:
    """Refuse a model with an interface between two levels.

    Args:
        model: any module.
        reason: beginning of the message.

    Raises:
        ValueError: it has one; the message names it.
    """
    for name, module in model.named_modules():
        for level, interface in enumerate(module.interfaces if isinstance(module, HierarchicalCore) else ()):
            if interface is not None:
                raise ValueError(
                    f"{reason}, so that interfaces[{level}] must be None in {name or 'the model'}, got an Interface"
                )


def _beside(steps: Tensor, message: Tensor) -> Tensor:
    """Steps (time, batch, features) with the same message (batch, features) beside each."""
    return torch.cat([steps, message.expand(steps.shape[0], -1, -1)], dim=-1)


def _one_each(name: str, values: Sequence[_Value | None] | None, number: int) -> list[_Value | None]:
    if values is not None and len(values) != number:
        raise ValueError(f"{name} must be one for each level but the slowest, {number}, got {len(values)}")
    return [None] * number if values is None else list(values)


def _check_sizes(levels: Sequence[nn.Module], message_sizes: Sequence[int], summary_sizes: Sequence[int]) -> int:
    """Return how many features of a step level 0 reads beside its message.

    Raises:
        ValueError: a message has no features, or a level reads other features than it is given.
    """
    for level, size in enumerate(message_sizes):
        at_least(f"message_sizes[{level}]", size, 1, "feature")
    reads = input_size(levels[0], "levels[0]")
    if reads <= message_sizes[0]:
        raise ValueError(
            f"levels[0].input_size must be above {message_sizes[0]}, the features of the message from level 1, to read "
            f"anything else, got {reads}"
        )
    for level, (below, message) in enumerate(zip(summary_sizes, [*message_sizes[1:], 0], strict=True), start=1):
        size = input_size(levels[level], f"levels[{level}]")
        if size != below + message:
            rest = f" and a message of {message} from level {level + 1}" if message else ""
            raise ValueError(
                f"levels[{level}].input_size must be {below + message}, for {below} outputs of level {level - 1}"
                f"{rest}, got {size}"
            )
    return reads - message_sizes[0]
