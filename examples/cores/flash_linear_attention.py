"""Gated linear attention of flash-linear-attention as a core: gradients against those by hand, and training.

`pip install flash-linear-attention` brings Triton, without which it cannot be imported. Here its plain reference runs,
on any processor, in float32; `chunk_gla` of `fla.ops.gla`, for GPUs, has the same keywords. The state, one matrix
(batch, heads, keys, values), becomes (heads, keys, batch, values).

    $ python examples/cores/flash_linear_attention.py
    gradients in windows and by hand differ by 5e-08 of their norm
    squared error of the first pass 0.84, of the last 0.54; target_r2 0.76
"""

import torch
from fla.ops.gla.naive import naive_recurrent_gla  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

import sgrnn


class Attention(nn.Module):
    """One layer (batch, time, 8) under the keywords that all of flash-linear-attention's functions have."""

    def __init__(self, size: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.read, self.write = heads, nn.Linear(size, 4 * size), nn.Linear(size, size)

    def forward(self, x: Tensor, initial_state: Tensor | None = None, output_final_state: bool = False):
        q, k, v, gate = (each.unflatten(-1, (self.heads, -1)) for each in self.read(x).chunk(4, dim=-1))
        keywords = {"initial_state": initial_state, "output_final_state": output_final_state}
        outputs, state = naive_recurrent_gla(q, k, v, logsigmoid(gate + 2), **keywords)
        return self.write(outputs.flatten(-2)), state


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(-1)


def gradients(module: nn.Module) -> Tensor:
    """Return the gradients of all parameters, and forget them."""
    found = torch.cat([each.grad.flatten() for each in module.parameters() if each.grad is not None])
    module.zero_grad()
    return found


if __name__ == "__main__":
    torch.manual_seed(0)
    module = Attention()
    core = sgrnn.AdaptedCore(module, state="initial_state", output_final_state=True, batch_first=True)
    inputs, targets = torch.randn(150, 16, 8), torch.zeros(150, 16, 8)
    for step in range(1, 150):
        targets[step] = 0.9 * targets[step - 1] + 0.4 * inputs[step]

    sgrnn.TruncatedBPTT(core, squares, window=5).backward(sgrnn.Span(inputs[:20], targets[:20]))
    in_windows, state = gradients(module), None
    for x, y in zip(inputs[:20].split(5), targets[:20].split(5), strict=True):
        outputs, state = module(x.transpose(0, 1), None if state is None else state.detach(), output_final_state=True)
        (squares(outputs.transpose(0, 1), y).mean() / 4).backward()
    by_hand = gradients(module)
    print(
        f"gradients in windows and by hand differ by {(in_windows - by_hand).norm() / by_hand.norm():.0e} of their norm"
    )

    estimator = sgrnn.SyntheticGradients(core, squares, window=5)
    optimizer = torch.optim.Adam([*core.parameters(), *estimator.parameters()], lr=0.01)
    steps = []
    for span in [*sgrnn.spans(inputs, targets, steps=10, lookahead=estimator.lookahead)] * 6:
        steps.append(estimator.backward(span, steps[-1].state if steps else None))
        optimizer.step()
        optimizer.zero_grad()
    first, last = (torch.stack([step.loss for step in part]).mean() for part in (steps[:15], steps[-15:]))
    r2 = torch.stack([step.metrics["target_r2"] for step in steps[-15:]]).mean()
    print(f"squared error of the first pass {first:.2f}, of the last {last:.2f}; target_r2 {r2:.2f}")
