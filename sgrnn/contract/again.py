"""Running a model a second time as it ran the first: random generators and buffers put back for as long as it takes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import buffers_of, kept_buffers, same_values
from sgrnn.contract.modules import forked_random


@final
class Moment:
    """Record of torch's random generators and of a model's buffers, to which both can be put back for a while.

    Args:
        model: that is to run again.
        device: on which it runs.
        before: an earlier record of the same model; what has not changed since is held once for both.
    """

    def __init__(self, model: nn.Module, device: torch.device, before: "Moment | None" = None) -> None:
        self._model, self._device = model, device
        self._random = _copied(random_states(device), before and before._random)
        self._buffers = _copied(buffers_of(model), before and before._buffers)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Put all back to this moment inside this context; afterwards it is as if nothing had run there."""
        with forked_random(self._device), kept_buffers(self._model, self._buffers):
            put_back(self._random, self._device)
            yield


def random_states(device: torch.device) -> list[Tensor]:
    """Return the states of torch's random generators: that of the CPU, and that of the device if it is another one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def drawn_since(random: Sequence[Tensor], device: torch.device) -> bool:
    """Tell whether torch's random generators have been drawn from since `random_states` gave their states."""
    return not all(map(torch.equal, random, random_states(device)))


def put_back(random: Sequence[Tensor], device: torch.device) -> None:
    """Put torch's random generators back to what `random_states` gave."""
    torch.set_rng_state(random[0])
    for state in random[1:]:
        torch.cuda.set_rng_state(state, device)


def _copied(tensors: Sequence[Tensor], before: Sequence[Tensor] | None) -> list[Tensor]:
    if before is None:
        return [tensor.clone() for tensor in tensors]
    return [kept if same_values(tensor, kept) else tensor.clone() for tensor, kept in zip(tensors, before, strict=True)]
