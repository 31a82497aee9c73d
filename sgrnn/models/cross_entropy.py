"""Output layer and cross-entropy as one differentiable step that keeps one buffer of logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sgrnn.state import without_autocast


def output_loss(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: torch.dtype) -> Tensor:
    """Return the cross-entropy of each target under softmax(features weightᵀ + bias), in nats.

    Equal to ``F.cross_entropy(F.linear(...), reduction="none")``. For N rows over V words the N x V buffer of
    probabilities becomes, by one subtraction a row, that of the loss's gradient, where the separate steps take four
    such buffers and pass over them twice as often. At V = 10,000 that is what a training step on a CPU spends its time
    on.

    Args:
        features: (N, features).
        weight, bias: (V, features) and (V,), of the output layer.
        targets: (N,) tokens.
        precision: of the matrix products and the buffer.

    Returns:
        (N,), in the precision of the features, float32 at least. It can be differentiated once.

    >>> features, weight = torch.randn(4, 3), torch.randn(9, 3)
    >>> output_loss(features, weight, torch.zeros(9), torch.tensor([1, 0, 8, 1]), torch.float32).shape
    torch.Size([4])
    """
    with without_autocast(features.device):  # the precision is that which was asked for
        return _OutputLoss.apply(features, weight, bias, targets, precision)


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: torch.dtype
    ) -> Tensor:
        features_low, weight_low = features.to(precision), weight.to(precision)
        logits = torch.addmm(bias.to(precision), features_low, weight_low.t())
        targets = targets.unsqueeze(1)
        chances = torch.softmax(logits, dim=1)
        chance = chances.gather(1, targets)
        kept = torch.promote_types(features.dtype, torch.float32)
        if any(ctx.needs_input_grad):
            # d loss / d logits = probabilities - one-hot target. The loss's own gradient, one number a row, is left to
            # what is smaller than this buffer. Indexed: scatter_add_ makes a float32 copy.
            chances[torch.arange(len(targets), device=targets.device), targets.squeeze(1)] -= 1
            ctx.save_for_backward(features_low, weight_low, chances)
        if chance.min() < torch.finfo(chance.dtype).tiny:  # too small to have a logarithm
            return -torch.log_softmax(logits, dim=1).gather(1, targets).squeeze(1).to(kept)
        return -chance.squeeze(1).to(kept).log()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator makes ctx positional)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        features, weight, for_logits = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(1)
        low = gradient.to(for_logits.dtype)
        wanted = ctx.needs_input_grad
        return (
            (for_logits @ weight).to(gradient.dtype) * gradient if wanted[0] else None,
            (for_logits.t() @ (features * low)).to(gradient.dtype) if wanted[1] else None,
            (low.t() @ for_logits).squeeze(0).to(gradient.dtype) if wanted[2] else None,  # sum makes a float32 copy
            None,
            None,
        )
