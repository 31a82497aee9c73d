"""The state in which a sequence begins, for any core."""

from collections.abc import Callable

from torch import nn

from sgrnn.state import State


def initial_state(core: nn.Module, batch_size: int) -> State:
    """The state of a core before its first step.

    Args:
        core: a module with a method ``initial_state(batch_size)``, or a one-directional, time-first
            ``torch.nn.LSTM``, ``GRU`` or ``RNN``, for which it is zeros.
        batch_size: number of rows.

    Raises:
        TypeError: the module is neither.

    >>> hidden, cell = initial_state(nn.LSTM(3, 5, num_layers=2), batch_size=4)
    >>> cell.shape
    torch.Size([2, 4, 5])
    """
    method: Callable[[int], State] | None = getattr(core, "initial_state", None)
    if method is not None:
        return method(batch_size)
    if not isinstance(core, nn.RNNBase):
        raise TypeError(f"{type(core).__name__} has no initial_state(batch_size) and is no torch.nn.LSTM, GRU or RNN")
    if core.batch_first or core.bidirectional:
        raise TypeError("a core reads time first and forwards only: batch_first and bidirectional must be False")
    weight = next(core.parameters())
    hidden = weight.new_zeros(core.num_layers, batch_size, core.proj_size or core.hidden_size)
    if isinstance(core, nn.LSTM):
        return hidden, weight.new_zeros(core.num_layers, batch_size, core.hidden_size)
    return hidden
