"""A control loop that learns while it runs: a drive is told what load comes before it is felt.

A camera over each of four belts shows a box or none; three ticks later the box reaches the drive. At every tick the
loop reads the cameras, has the load predicted, gives that to the drive, and feels what the prediction missed: so the
true load is known, and learned from before the next tick. Now and then a camera gives NaN. The stream refuses that by
name, unchanged, and the loop marks the belt as one that is away for a tick.

    $ python examples/control_loop.py
    mean square felt by the drive: 1.00 without control, 0.05 in the last 200 ticks
"""

import torch
from torch import Tensor, nn

import sgrnn

BELTS, TICKS, DEAD_TIME = 4, 1500, 3


class Belts:
    def __init__(self) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.boxes = torch.zeros(DEAD_TIME + 1, BELTS, 1)

    def read(self) -> Tensor:
        new = torch.randint(0, 2, (1, BELTS, 1), generator=self.random) * 2.0 - 1
        self.boxes = torch.cat([self.boxes[1:], new])
        blind = torch.rand(BELTS, 1, generator=self.random) < 0.002
        return self.boxes[-1].masked_fill(blind, torch.nan)

    def drive(self, command: Tensor) -> Tensor:
        return self.boxes[0] - command


def run() -> tuple[float, float]:
    core, head, belts = nn.LSTM(1, 32), nn.Linear(32, 1), Belts()
    optimizer = torch.optim.Adam([*core.parameters(), *head.parameters()], lr=5e-3)
    stream = sgrnn.Stream(
        core, lambda outputs, loads: (head(outputs) - loads).square().squeeze(-1), optimizer, delay=6, clip=1.0,
        synthesizer_rate=5e-3,
    )  # fmt: skip
    felt, loads = [], []
    for _ in range(TICKS):
        readings = belts.read()
        with torch.no_grad():
            command = head(stream.predict(readings.nan_to_num(0)))
        missed = belts.drive(command)
        try:
            stream.step(readings, command + missed)
        except sgrnn.InputError:
            stream.step(readings, command + missed, present=readings.isfinite().squeeze(-1))
        felt.append(missed.square().mean())
        loads.append((command + missed).square().mean())
    return float(torch.stack(loads[-200:]).mean()), float(torch.stack(felt[-200:]).mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    print("mean square felt by the drive: {:.2f} without control, {:.2f} in the last 200 ticks".format(*run()))
