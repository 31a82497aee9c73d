"""How predictions are trained on their targets, and how good they were before."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.estimators.objective import gradients
from sgrnn.state import at_least_float32


def regress(
    predicted: Tensor,
    wanted: Tensor,
    after: Tensor,
    open_rows: Tensor | None,
    count: Tensor | float,
    parameters: Sequence[nn.Parameter],
) -> None:
    """Fill the gradients of a synthesizer's parameters, and of nothing else that its features may lead to.

    Args:
        predicted: (rows, heads, features): the first head is trained on `wanted`, a second on `after`.
        wanted: (rows, features) the targets, in units of their scale.
        after: (rows, features) what was predicted for the boundary that follows, held constant.
        open_rows: the rows that count, or more of which these are the first; None where all do.
        count: rows to take the mean over.
        parameters: of the synthesizer.
    """
    heads = wanted.unsqueeze(1)
    if predicted.shape[1] == 2:
        heads = torch.cat([heads, after.unsqueeze(1)], dim=1)
    errors = (predicted - heads).square().sum(dim=1).mean(dim=1)  # over heads, over features
    if open_rows is not None:
        errors = errors * open_rows[: errors.shape[0]]
    error = errors.sum() / count
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    if error.requires_grad and learned:
        torch.autograd.backward(error, inputs=learned)


def quality(dot: Tensor, square: Tensor, power: Tensor) -> dict[str, Tensor]:
    """R² and cosine of predictions p with targets g, from <p, g>, |p|² and |g|²."""
    tiny = torch.finfo(power.dtype).tiny
    return {
        "target_r2": torch.where(power > 0, (2 * dot - square) / power.clamp(min=tiny), 0),
        "target_cosine": dot / (square * power).sqrt().clamp(min=tiny),
    }


@torch.no_grad()
def injected_share(injected: Tensor, outputs: Any, all_reduce: AllReduce | None) -> Tensor:
    """The norm of what is injected over that of this and the errors at the outputs together."""
    flat = [at_least_float32(each).flatten() for each in (injected, *gradients(outputs))]
    squares = torch.stack([each.dot(each) for each in flat])
    if all_reduce is not None:
        squares = all_reduce(squares)
    ours = squares[0]
    return (ours / squares.sum().clamp(min=torch.finfo(ours.dtype).tiny)).sqrt()
