"""Real processes, DistributedDataParallel around the model: a boundary there is that of one process with all rows."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from models import SIZE, make_span, squared_error
from together import run_together
from tolerances import assert_close
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sgrnn.all_reduce import AllReduce
from sgrnn.estimators import Boundary
from sgrnn.state import map_state

ROWS, WINDOW, WINDOWS = 4, 3, 4


class Model(nn.Module):
    """A core and its head, as people wrap them."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.head = nn.LSTM(SIZE, 4), nn.Linear(4, SIZE)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, state = self.core(inputs, state)
        return self.head(outputs), state


def summed(tensor: Tensor) -> Tensor:
    """The sum over the processes."""
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def train(rank: int, processes: int, all_reduce: AllReduce | None) -> dict[str, Any]:
    """What a process has in the end: parameters, running means, and its rows of the state."""
    torch.manual_seed(0)
    model: nn.Module = Model().double()
    boundary = Boundary(model, all_reduce=all_reduce).double()
    for parameter in boundary.parameters():
        nn.init.normal_(parameter, std=0.3)
    if all_reduce is not None:
        model, boundary = DistributedDataParallel(model), deepcopy(boundary)  # a copy averages, too
    boundary.interface.predictor.shrinkage.dot.fill_(400.0)
    boundary.interface.predictor.shrinkage.square.fill_(500.0)
    optimizer = torch.optim.SGD([*model.parameters(), *boundary.parameters()], lr=0.1)
    state = None
    for place, span in enumerate(make_span(WINDOW * WINDOWS, ROWS).divide(WINDOW)):
        span = span.rows(rank * ROWS // processes, (rank + 1) * ROWS // processes)
        state = boundary.enter(state)
        outputs, state = model(span.inputs, state)
        ends = torch.arange(ROWS)[rank * ROWS // processes :][: span.batch_size] == place  # another row each time
        loss = squared_error(outputs, span.targets).mean() + boundary.leave(state, continuing=~ends)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state = map_state(lambda tensor, ends=ends: tensor.masked_fill(ends[:, None], 0), state)
    parameters = [parameter.detach() for parameter in (*model.parameters(), *boundary.parameters())]
    assert state is not None
    return {"parameters": parameters, "means": list(boundary.buffers()), "state": map_state(Tensor.detach, state)}


def learn(folder: Path, processes: int) -> None:
    """One of the processes."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.save(train(rank, processes, summed), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_train_as_one_with_all_rows(tmp_path: Path) -> None:
    expected = train(0, 1, None)
    run_together(2, learn, tmp_path, 2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for each in found:
        assert_close(each["parameters"], expected["parameters"])
        assert_close(each["means"], expected["means"])
    rows = zip(*(each["state"] for each in found), strict=True)
    assert_close([torch.cat(parts, dim=1) for parts in rows], list(expected["state"]))
