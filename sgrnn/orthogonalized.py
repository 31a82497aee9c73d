"""Steps of orthogonalized momentum that cost little on a processor that multiplies in bfloat16 no faster."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


class OrthogonalizedMomentum(torch.optim.Muon):
    """Train matrices as `torch.optim.Muon` does with Nesterov's momentum and Adam's size of a step, in less time.

    torch iterates on the matrix itself in bfloat16, which suits a GPU and processors that multiply in it, by matrix
    units or AVX-512. On all others, steps are computed in the precision of the parameters, float32 at least, by
    `orthogonalized`.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make an update of all matrices that have a gradient.

        Args:
            closure: computes the loss and the gradients anew, if given.
        """
        if any(_multiplies_bfloat16(parameter.device) for group in self.param_groups for parameter in group["params"]):
            return super().step(closure)  # pyright: ignore[reportArgumentType]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, matrices, gradients, momenta)
            for matrix, gradient, momentum in zip(matrices, gradients, momenta, strict=True):
                _move(matrix, gradient, momentum, group)
        return loss


def _move(matrix: Tensor, gradient: Tensor, momentum: Tensor, group: dict[str, Any]) -> None:
    """Make the step of one matrix, with Nesterov's momentum and the root mean square of a step of Adam's."""
    share, rate = group["momentum"], float(group["lr"])
    momentum.lerp_(gradient, 1 - share)
    direction = orthogonalized(gradient.lerp(momentum, share), group["ns_coefficients"], group["ns_steps"])
    matrix.mul_(1 - rate * group["weight_decay"])
    matrix.add_(direction, alpha=-rate * 0.2 * max(matrix.shape) ** 0.5)


def orthogonalized(matrix: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Return a matrix with the singular vectors of another one and singular values of about 1.

    The iteration is Newton and Schulz's, of fifth order: ``X <- (a I + b G + c G^2) X`` where ``G = X X^T``, beginning
    at the matrix over its norm (Jordan et al. 2024). All factors are polynomials of the first ``G``, so that none needs
    more than its shorter side squared: ``G <- P G P``, and their product meets the matrix once, at the end.

    Args:
        matrix: of any shape; in float16 or bfloat16 it is taken for float32, and so comes back.
        coefficients: a, b, c.
        steps: of the iteration.

    >>> matrix = torch.tensor([[3.0, 0.0], [0.0, 0.2], [0.0, 0.0]])
    >>> values = torch.linalg.svdvals(orthogonalized(matrix, (3.4445, -4.7750, 2.0315), 5))
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    first, second, third = coefficients
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    unit = matrix / matrix.norm().clamp(min=1e-7)
    tall = unit.shape[0] > unit.shape[1]
    gram = unit.T @ unit if tall else unit @ unit.T
    product = None
    for step in range(steps):
        factor = torch.addmm(gram, gram, gram, beta=second, alpha=third)
        factor.diagonal().add_(first)
        product = factor if product is None else factor @ product
        if step + 1 < steps:
            gram = factor @ gram @ factor
    if product is None:
        return unit
    return unit @ product if tall else product @ unit


@cache
def _multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies matrices faster in bfloat16 than in float32: by tiles, or by dot products."""
    supported = (getattr(torch.cpu, f"_is_{units}_supported", bool) for units in ("amx_tile", "avx512_bf16"))
    return device.type != "cpu" or any(has() for has in supported)
