"""Running means that neither half precision nor a value that is not finite can spoil."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class RunningMeans(nn.Module):
    """Module with running means in buffers that stay float32 at least, whatever precision the module is moved to."""

    def take_in(self, name: str, value: Tensor, weight: Tensor | float, where: Tensor | None = None) -> None:
        """Update a running mean by a value, unless that is not finite.

        Args:
            name: of the buffer.
            value: a scalar.
            weight: share of the value in the new mean.
            where: a bool scalar, False to leave the mean as it is; None for where the value is finite.
        """
        mean = self.get_buffer(name)
        value = value.to(mean)
        mean.copy_(torch.where(value.isfinite() if where is None else where, mean.lerp(value, weight), mean))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.dtype in (torch.float16, torch.bfloat16):  # where 1e-30 is 0 and 1e5 infinite
                setattr(self, name, kept[name].to(buffer.device, torch.float32))
        return self
