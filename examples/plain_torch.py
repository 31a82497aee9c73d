"""Repeat bits of three steps ago, learned in windows of three: by ten lines, and by two changed lines in a loop.

Without memory a bit costs 0.693. What came three steps ago lies in the window before: gradients that end at a window's
first step hardly find the way, synthetic ones do within 150 updates. A boundary in a loop of one's own does not look
ahead; it is told the labels of the next window instead, and needs a few hundred updates.

    $ python examples/plain_torch.py
    truncated: 0.66, synthetic: 0.00
    detach: 0.70, a boundary in its place: 0.01
"""

import torch
from torch import Tensor, nn

import sgrnn

bits = torch.randint(0, 2, (1500, 16, 1), generator=torch.Generator().manual_seed(0)).float()
inputs, targets = bits * 2 - 1, bits.roll(3, dims=0)


def cost(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").squeeze(-1)


def ten_lines(kind: type[sgrnn.SyntheticGradients | sgrnn.TruncatedBPTT]) -> Tensor:
    torch.manual_seed(0)
    core, head = nn.LSTM(1, 32), nn.Linear(32, 1)
    estimator = kind(core, lambda outputs, targets: cost(head(outputs), targets), window=3)
    optimizer = torch.optim.Adam([*core.parameters(), *head.parameters(), *estimator.parameters()], lr=0.01)
    state, losses = None, []
    for span in sgrnn.spans(inputs, targets, steps=10, lookahead=estimator.lookahead):
        step = estimator.backward(span, state)
        state = step.state
        optimizer.step()
        optimizer.zero_grad()
        losses.append(step.loss)
    return torch.stack(losses[-20:]).mean()


def loop_of_ones_own(boundary_in_it: bool) -> Tensor:
    torch.manual_seed(0)
    core, head = nn.LSTM(1, 32), nn.Linear(32, 1)
    boundary = sgrnn.Boundary(core, context_size=3)
    optimizer = torch.optim.Adam([*core.parameters(), *head.parameters(), *boundary.parameters()], lr=0.01)
    state, losses = None, []
    for window, labels, later in zip(*(each.split(3) for each in (inputs, targets, targets.roll(-3, 0))), strict=True):
        state = boundary.enter(state) if boundary_in_it else state and tuple(map(Tensor.detach, state))
        outputs, state = core(window, state)
        loss = cost(head(outputs), labels).mean()
        (loss + boundary.leave(state, later.squeeze(-1).T) if boundary_in_it else loss).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return torch.stack(losses[-20:]).mean()


if __name__ == "__main__":
    print(f"truncated: {ten_lines(sgrnn.TruncatedBPTT):.2f}, synthetic: {ten_lines(sgrnn.SyntheticGradients):.2f}")
    print(f"detach: {loop_of_ones_own(False):.2f}, a boundary in its place: {loop_of_ones_own(True):.2f}")
