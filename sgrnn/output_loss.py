"""Output layer and cross-entropy as one differentiable step that keeps one buffer of logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def output_loss(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: torch.dtype) -> Tensor:
    """The cross-entropy of each target under softmax(features weightᵀ + bias), in nats.

    The same as ``F.cross_entropy(F.linear(...), reduction="none")``. For N rows over V words the N x V buffer of
    log-probabilities becomes, in place, that of their gradient, where the separate steps take four such buffers. At
    V = 10,000 they are what a training step on a CPU spends its time on: filling memory.

    Args:
        features: (N, features).
        weight, bias: (V, features) and (V,), of the output layer.
        targets: (N,) tokens.
        precision: of the matrix products and the buffer.

    Returns:
        (N,), in the precision of the features. It can be differentiated once.

    >>> features, weight = torch.randn(4, 3), torch.randn(9, 3)
    >>> output_loss(features, weight, torch.zeros(9), torch.tensor([1, 0, 8, 1]), torch.float32).shape
    torch.Size([4])
    """
    return _OutputLoss.apply(features, weight, bias, targets, precision)


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: torch.dtype
    ) -> Tensor:
        features_low, weight_low = features.to(precision), weight.to(precision)
        logits = torch.addmm(bias.to(precision), features_low, weight_low.t())
        log_chances = torch.log_softmax(logits, dim=1)
        losses = -log_chances.gather(1, targets.unsqueeze(1)).squeeze(1)
        ctx.save_for_backward(features_low, weight_low, log_chances, targets)
        return losses.to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator makes ctx positional)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        features, weight, log_chances, targets = ctx.saved_tensors
        precise = gradients[0].dtype
        gradient = gradients[0].to(log_chances.dtype).unsqueeze(1)
        # d loss / d logits = probabilities - one-hot target, times the loss's own gradient
        for_logits, rows = log_chances.exp_().mul_(gradient), torch.arange(len(targets), device=targets.device)
        # indexed, and summed by a product: scatter_add_ and sum make float32 copies of a bfloat16 buffer
        for_logits[rows, targets] -= gradient.squeeze(1)
        ones = for_logits.new_ones(len(for_logits))
        wanted = ctx.needs_input_grad
        return (
            (for_logits @ weight).to(precise) if wanted[0] else None,
            (for_logits.t() @ features).to(precise) if wanted[1] else None,
            (ones @ for_logits).to(precise) if wanted[2] else None,
            None,
            None,
        )
