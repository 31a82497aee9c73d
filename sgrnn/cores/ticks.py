"""The ticks of a hierarchy's levels, computed from the phases of the rows."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sgrnn.errors import at_least


class Tick(NamedTuple):
    """A step that one level of a hierarchy takes, in some or all rows.

    Args:
        level: number of the level, 0 for the fastest.
        rows: rows that take the step, as `sgrnn.state.take_rows` takes them; None for all.
        phase: (rows or 1, 1) how many steps their sequences have gone, modulo the cycle.
    """

    level: int
    rows: Tensor | None
    phase: Tensor


Chunks = Iterator[tuple[int, Sequence[Tick]]]  # up to which step the fastest level runs, and what ticks there


def check_periods(levels: int, periods: Sequence[int]) -> None:
    """Refuse periods that do not fit the number of levels.

    Raises:
        ValueError: there are too few levels, or periods are not whole, not positive, decrease or do not begin with 1.
    """
    if levels < 2:
        raise ValueError(f"levels must be two or more, got {levels}")
    if len(periods) != levels:
        raise ValueError(f"periods must be one for each of the {levels} levels, got {len(periods)}")
    for level, period in enumerate(periods):
        at_least(f"periods[{level}]", period, 1, "step")
        if level and period < periods[level - 1]:
            raise ValueError(
                f"periods[{level}] must be at least that of the level below, {periods[level - 1]}, got {period}"
            )
    if periods[0] != 1:
        raise ValueError(f"periods[0] must be 1, since the fastest level reads every step, got {periods[0]}")


def chunks(periods: Sequence[int], phase: Tensor, steps: int) -> Chunks:
    """Divide a window into chunks, each up to a step at which a level above the fastest ticks in any row.

    Args:
        periods: of the levels, in steps.
        phase: (batch, 1) steps that each row's sequence has gone before.
        steps: how many follow.
    """
    known = phase.cpu()
    if bool((known == known[0]).all()):
        known = known[:1]  # rows side by side in step, as most are: one stands for all
    now = known + torch.arange(1, steps + 1).view(-1, 1, 1)  # (steps, rows or 1, 1)
    due = [(now % period == 0).squeeze(-1) for period in periods]
    some, every = ([reduce(each, 1).tolist() for each in due] for reduce in (torch.any, torch.all))
    for step in range(steps):
        ticks: list[Tick] = []
        for level in range(1, len(periods)):
            if every[level][step]:
                ticks.append(Tick(level, None, now[step]))
            elif some[level][step]:
                rows = due[level][step].nonzero().squeeze(1)
                ticks.append(Tick(level, rows.to(phase.device), now[step][rows]))
        if ticks or step == steps - 1:
            yield step + 1, ticks


def single_steps(periods: Sequence[int], phase: Tensor, steps: int) -> Chunks:
    """Divide a window into single steps, at each of which all levels tick, with a mask of the rows that truly do.

    The operations that follow from these ticks do not depend on the phase. Arguments as for `chunks`.
    """
    for step in range(1, steps + 1):
        now = phase + step
        yield step, [Tick(level, (now % periods[level] == 0).squeeze(-1), now) for level in range(1, len(periods))]


def ticks_below(periods: Sequence[int], tick: Tick, device: torch.device) -> Tensor | int:
    """Count the ticks of the level below since this level's last tick, up to the given one."""
    period, below = periods[tick.level], periods[tick.level - 1]
    if period % below == 0:
        return period // below
    return (tick.phase // below - (tick.phase - period) // below).to(device)
