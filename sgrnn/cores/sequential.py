"""The core of several cores, one above the other: layers of different sizes."""

from collections.abc import Sequence
from itertools import pairwise
from math import lcm
from typing import final

from torch import Tensor, nn

from sgrnn.contract.layout import require_time_first
from sgrnn.contract.modules import hidden_size, input_size
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.initial import initial_state
from sgrnn.cores.locked import LockedDropout
from sgrnn.cores.stacked import between_layers
from sgrnn.state import State


@final
class SequentialCore(nn.Module):
    """Core of cores, each reading the outputs of the one below over the whole window.

    The state is the tuple of theirs, the lowest first.

    Args:
        cores: one or more, the lowest first, with the attributes ``input_size`` and ``hidden_size``, as those of this
            package and of torch have them.
        dropout: probability of zeroing an element between two cores.
        locked_dropout: True for the same mask at all steps of a span (`LockedDropout`) between two cores.

    Raises:
        TypeError: a core is bidirectional or reads the batch first.
        ValueError: there is none, or one does not tell its sizes or reads other features than the one below gives.

    >>> import torch
    >>> from sgrnn.cores import LSTM
    >>> core = SequentialCore([LSTM(4, 6, 2), LSTM(6, 4)])
    >>> core(torch.zeros(5, 2, 4))[0].shape
    torch.Size([5, 2, 4])
    """

    def __init__(self, cores: Sequence[nn.Module], dropout: float = 0.0, *, locked_dropout: bool = False) -> None:
        super().__init__()
        if not cores:
            raise ValueError("cores must be at least one, got none")
        named = [(core, f"cores[{number}]") for number, core in enumerate(cores)]
        sizes = [(input_size(*each), hidden_size(*each)) for each in named]
        for number, ((_, given), (read, _)) in enumerate(pairwise(sizes), start=1):
            if read != given:
                raise ValueError(
                    f"cores[{number}].input_size must be {given}, the outputs of the core below, got {read}"
                )
        for core in cores:
            require_time_first(core)
        self.input_size, self.hidden_size = sizes[0][0], sizes[-1][1]
        self.cycle = lcm(*(getattr(core, "cycle", 1) for core in cores))
        self.cores = nn.ModuleList(cores)
        self.dropout = LockedDropout(dropout) if locked_dropout else Dropout(dropout)

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step: that of each core."""
        return tuple(initial_state(core, batch_size) for core in self.cores)

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run the core over a window, and return its outputs and the state after it.

        Args:
            inputs: (time, batch, input_size).
            state: as `initial_state` gives, which stands for None.

        Returns:
            outputs (time, batch, hidden_size) of the last core, and the state after the last step.
        """
        state = self.initial_state(inputs.shape[1]) if state is None else state
        outputs, after = inputs, []
        for place, (core, before) in enumerate(zip(self.cores, state, strict=True)):
            if place:
                outputs = between_layers(self.dropout, outputs, place)
            outputs, last = core(outputs, before)
            after.append(last)
        return outputs, tuple(after)
