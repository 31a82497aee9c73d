"""Levels of recurrent cores that tick at different rates."""

from collections.abc import Iterator, Sequence
from math import lcm
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sgrnn.contract.modules import tensor_of
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.initial import initial_state
from sgrnn.state import State, put_rows, take_rows
from sgrnn.synthesizers.interface import Interface, alongside

_Value = TypeVar("_Value")
# A level that ticks: its place, the rows that do (as `take_rows` takes them), and how many steps their sequences have
# gone, (rows or 1, 1), modulo the cycle.
_Tick = tuple[int, Tensor | None, Tensor]
_Chunks = Iterator[tuple[int, Sequence[_Tick]]]  # up to which step the fastest level runs, and what ticks there


class HierarchicalCore(nn.Module):
    """Recurrent levels of which the k-th ticks at every p_k-th step of a sequence, itself a core.

    At step t = 1, 2, ... of a row's sequence, from the fastest level up, each that ticks (p_k divides t):

        y_0, s_0 = level_0([x_t, m_0], s_0)                                    also the output
        y_k, s_k = level_k([mean of y_{k-1} since the last tick, m_k], s_k)
        m_{k-1}  = W_k y_k, or y_k itself                                      in force until the next tick

    A level is conditioned by the one above it through the message m that it reads beside its input, zero before the
    first tick; the slowest has none. What a level sends up is the mean of its outputs since the level above ticked.
    With all periods 1 this is a stack with feedback: each level reads what the one above it said a step ago.

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
        _check_periods(len(levels), periods)
        sizes = [_size(level, place, "hidden_size") for place, level in enumerate(levels)]
        self.periods = tuple(periods)
        self.cycle = lcm(*(period * getattr(level, "cycle", 1) for period, level in zip(periods, levels, strict=True)))
        self.hidden_size = sizes[0]
        given = _one_each("message_sizes", message_sizes, len(levels) - 1)
        self.message_sizes = [above if size is None else size for above, size in zip(sizes[1:], given, strict=True)]
        for place, size in enumerate(self.message_sizes):
            _check_whole(f"message_sizes[{place}]", size)
            if size < 1:
                raise ValueError(f"message_sizes[{place}] must be at least 1 feature, got {size}")
        self.input_size = _size(levels[0], 0, "input_size") - self.message_sizes[0]
        if self.input_size < 1:
            raise ValueError(
                f"levels[0].input_size must be above {self.message_sizes[0]}, the features of the message from level "
                f"1, to read anything else, got {self.input_size + self.message_sizes[0]}"
            )
        for place, (below, message) in enumerate(zip(sizes[:-1], [*self.message_sizes[1:], 0], strict=True), start=1):
            found = _size(levels[place], place, "input_size")
            if found != below + message:
                rest = f" and a message of {message} from level {place + 1}" if message else ""
                raise ValueError(
                    f"levels[{place}].input_size must be {below + message}, for {below} outputs of level {place - 1}"
                    f"{rest}, got {found}"
                )
        self.summary_sizes = sizes[:-1]
        self.levels = nn.ModuleList(levels)
        self.condition = nn.ModuleList(
            nn.Identity() if size is None else nn.Linear(above, size, bias=False)
            for above, size in zip(sizes[1:], given, strict=True)
        )
        self.interfaces = _one_each("interfaces", interfaces, len(levels) - 1)  # a list: not registered
        for place, (interface, size) in enumerate(zip(self.interfaces, self.summary_sizes, strict=True)):
            if interface is not None and interface.message_size not in (size, None):
                raise ValueError(
                    f"interfaces[{place}] must predict for the {size} outputs of level {place}, got a synthesizer for "
                    f"{interface.message_size}"
                )

    def initial_state(self, batch_size: int) -> State:
        """The state before a sequence's first step: phase 0, nothing heard or said, the levels in their own."""
        like = tensor_of(self)
        return {
            "phase": torch.zeros(batch_size, 1, dtype=torch.long, device=like.device),
            "messages": tuple(like.new_zeros(batch_size, size) for size in self.message_sizes),
            "summaries": tuple(like.new_zeros(batch_size, size) for size in self.summary_sizes),
            "slow": tuple(initial_state(level, batch_size) for level in self.levels[1:]),
            "fast": initial_state(self.levels[0], batch_size),
        }

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run a window.

        Args:
            inputs: (time, batch, input_size).
            state: as `initial_state` gives.

        Returns:
            outputs (time, batch, hidden_size) of the fastest level, and the state after the last step.

        Raises:
            ValueError: windows are to run as one batch, and a level has dropout in it.
        """
        self._refuse_recording()
        return self._run(inputs, state, self._chunks(state["phase"], inputs.shape[0]))

    def forward_plain(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The same, every level run at every step and what it says thrown away where it does not tick.

        Which operations these are does not depend on the phases, so that ``torch.func`` can transform them. Slow, and
        without interfaces.
        """
        return self._run(inputs, state, self._single_steps(state["phase"], inputs.shape[0]), interfaces=False)

    def _run(self, inputs: Tensor, state: State, chunks: _Chunks, *, interfaces: bool = True) -> tuple[Tensor, State]:
        messages, sums = list(state["messages"]), list(state["summaries"])
        states = [state["fast"], *state["slow"]]
        outputs: list[Tensor] = []
        start = 0
        for stop, ticks in chunks:
            out, states[0] = self.levels[0](_beside(inputs[start:stop], messages[0]), states[0])
            sums[0] = sums[0] + out.sum(dim=0)
            for level, rows, now in ticks:
                below = level - 1
                summary = take_rows(sums[below], rows) / self._ticks_below(level, now, inputs.device)
                sums[below] = put_rows(sums[below], rows, torch.zeros_like(summary))
                interface = self.interfaces[below] if interfaces else None
                if interface is not None:
                    summary, reply = interface(summary)
                    out = alongside(out, reply)
                reading, slowest = summary.unsqueeze(0), level == len(messages)
                if not slowest:
                    reading = _beside(reading, take_rows(messages[level], rows))
                said, after = self.levels[level](reading, take_rows(states[level], rows))
                states[level] = put_rows(states[level], rows, after)
                messages[below] = put_rows(messages[below], rows, self.condition[below](said[0]))
                if not slowest:
                    sums[level] = put_rows(sums[level], rows, take_rows(sums[level], rows) + said[0])
            outputs.append(out)
            start = stop
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs), {
            "phase": (state["phase"] + inputs.shape[0]) % self.cycle,
            "messages": tuple(messages),
            "summaries": tuple(sums),
            "slow": tuple(states[1:]),
            "fast": states[0],
        }

    def _chunks(self, phase: Tensor, steps: int) -> _Chunks:
        """From one step at which any row's level 1 ticks to the next."""
        known = phase.cpu()
        if bool((known == known[0]).all()):
            known = known[:1]  # rows side by side in step, as most are: one stands for all
        now = known + torch.arange(1, steps + 1).view(-1, 1, 1)  # (steps, rows or 1, 1)
        due = [(now % period == 0).squeeze(-1) for period in self.periods[1:]]
        some, every = ([reduce(each, 1).tolist() for each in due] for reduce in (torch.any, torch.all))
        for step in range(steps):
            ticks: list[_Tick] = []
            for level in range(1, len(self.levels)):
                if every[level - 1][step]:
                    ticks.append((level, None, now[step]))
                elif some[level - 1][step]:
                    rows = due[level - 1][step].nonzero().squeeze(1)
                    ticks.append((level, rows.to(phase.device), now[step][rows]))
            if ticks or step == steps - 1:
                yield step + 1, ticks

    def _single_steps(self, phase: Tensor, steps: int) -> _Chunks:
        """All levels at every step, the rows that tick as a mask."""
        for step in range(1, steps + 1):
            now = phase + step
            yield step, [(level, (now % period == 0).squeeze(-1), now) for level, period in enumerate(self.periods)][1:]

    def _ticks_below(self, level: int, now: Tensor, device: torch.device) -> Tensor | int:
        """How often the level below has ticked in the period that ends now: as often always if it divides it."""
        period, below = self.periods[level], self.periods[level - 1]
        if period % below == 0:
            return period // below
        return (now // below - (now - period) // below).to(device)

    def _refuse_recording(self) -> None:
        for name, module in self.levels.named_modules():
            if isinstance(module, Dropout) and module.p > 0 and module.training and module.recording is not None:
                raise ValueError(
                    f"running windows as one batch needs levels without dropout, whose masks would come in another "
                    f"order there, got {module.p} in levels.{name}"
                )

    def extra_repr(self) -> str:
        return f"periods={self.periods}"


def _beside(steps: Tensor, message: Tensor) -> Tensor:
    """Steps (time, batch, features) with the same message (batch, features) beside each."""
    return torch.cat([steps, message.expand(steps.shape[0], -1, -1)], dim=-1)


def _check_periods(levels: int, periods: Sequence[int]) -> None:
    if levels < 2:
        raise ValueError(f"levels must be two or more, got {levels}")
    if len(periods) != levels:
        raise ValueError(f"periods must be one for each of the {levels} levels, got {len(periods)}")
    for place, period in enumerate(periods):
        _check_whole(f"periods[{place}]", period)
        if period < 1:
            raise ValueError(f"periods[{place}] must be at least 1 step, got {period}")
        if place and period < periods[place - 1]:
            raise ValueError(
                f"periods[{place}] must be at least that of the level below, {periods[place - 1]}, got {period}"
            )
    if periods[0] != 1:
        raise ValueError(f"periods[0] must be 1, since the fastest level reads every step, got {periods[0]}")


def _check_whole(name: str, given: Any) -> None:
    if not isinstance(given, int):
        raise ValueError(f"{name} must be a whole number, got {given!r}")


def _one_each(name: str, given: Sequence[_Value | None] | None, number: int) -> list[_Value | None]:
    if given is not None and len(given) != number:
        raise ValueError(f"{name} must be one for each level but the slowest, {number}, got {len(given)}")
    return [None] * number if given is None else list(given)


def _size(level: nn.Module, place: int, name: str) -> int:
    found = getattr(level, name, None)
    if name == "hidden_size":
        found = getattr(level, "proj_size", 0) or found  # of torch's LSTM
    if not isinstance(found, int):
        raise ValueError(f"levels[{place}] must have the attribute {name}, a number, got a {type(level).__name__}")
    return found
