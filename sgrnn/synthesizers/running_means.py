"""Running means that neither half precision nor a value that is not finite can spoil."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from sgrnn.state import at_least_float32


class RunningMeans(nn.Module):
    """Module with running means in buffers that stay float32 at least, whatever precision the module is moved to.

    What is done with them is done with numbers: an operation on a tensor of one takes as long as one on thousands.
    """

    def begin_mean(self, name: str, value: float = 0.0) -> None:
        """Register a running mean that begins with a value, also where torch's default precision is half."""
        self.register_buffer(name, at_least_float32(torch.tensor(value)))

    def take_in(self, name: str, value: float, weight: float) -> None:
        """Update a running mean by a value, unless that is not finite in the mean's precision.

        Args:
            name: of the buffer.
            value: the newest.
            weight: share of the value in the new mean.
        """
        mean = self.get_buffer(name)
        if abs(value) <= torch.finfo(mean.dtype).max:
            before = float(mean)
            mean.fill_(before + weight * (value - before))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.dtype in (torch.float16, torch.bfloat16):  # where 1e-30 is 0 and 1e5 infinite
                setattr(self, name, kept[name].to(buffer.device, torch.float32))
        return self
