"""Several processes that train one run together, each on its share of the rows, as torchrun starts them.

    torchrun --nproc-per-node=4 -m sgrnn train RECIPE

Gradients are averaged after the backward passes of an update and not by DistributedDataParallel: an estimator goes
backwards several times, through a loss that is no part of the model's forward pass, which DDP's hooks take for
mistakes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce, gather_rows
from sgrnn.errors import InputError, ProcessLost
from sgrnn.span import Span
from sgrnn.state import State, map_state, rows

Value = TypeVar("Value")

_PATIENCE = timedelta(minutes=10)  # with a process that does not answer; one that has ended is missed at once
_PREPARING = timedelta(days=1)  # for the first process to encode a large text


@final
class Ranks:
    """The processes of a run, seen from one of them. All of them call the same methods in the same order.

    Args:
        rank: the number of this process, from 0, the one that leads: it alone writes.
        world_size: how many processes there are.
        local_rank: the number of this process on its machine, which is that of its GPU.
        local_world_size: how many processes there are on this machine.
        patient: a group of all processes whose messages may take a day.

    Every method raises ProcessLost if another process has ended.
    """

    def __init__(
        self,
        rank: int = 0,
        world_size: int = 1,
        local_rank: int = 0,
        local_world_size: int = 1,
        patient: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.local_rank, self.local_world_size = local_rank, local_world_size
        self._patient = patient

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ranks":
        """Return itself: a copy of an estimator sums over the same processes."""
        return self

    @property
    def all_reduce(self) -> AllReduce | None:
        """Function that sums a tensor over the processes; None where there is one process."""
        return None if self.world_size == 1 else self._sum

    @property
    def leads(self) -> bool:
        """True in the first process, the only one that writes files."""
        return self.rank == 0

    @property
    def command(self) -> list[str]:
        """Shell command that runs ``sgrnn`` in as many processes, as a list of words."""
        if self.world_size == 1:
            return ["sgrnn"]
        return ["torchrun", f"--nproc-per-node={self.local_world_size}", "-m", "sgrnn"]

    def local_rows(self, batch_size: int) -> int:
        """Return how many rows of a batch each process has.

        Raises:
            InputError: they cannot be shared out equally.
        """
        if batch_size % self.world_size:
            raise InputError(
                f"training.batch_size must be a multiple of the number of processes, {self.world_size}, "
                f"got {batch_size}"
            )
        return batch_size // self.world_size

    def share(self, span: Span) -> Span:
        """Return this process's rows of a span."""
        if self.world_size == 1:
            return span
        number = self.local_rows(span.batch_size)
        return span.rows(self.rank * number, (self.rank + 1) * number)

    def share_state(self, state: State, batch_size: int) -> State:
        """Return this process's rows of the state of all rows."""
        if self.world_size == 1:
            return state
        number = self.local_rows(batch_size)
        return map_state(Tensor.contiguous, rows(state, self.rank * number, (self.rank + 1) * number))

    def gather_state(self, state: State) -> State:
        """Return the state of all rows, from every process's state of its own rows."""
        return gather_rows(state, self.rank, self.world_size, self.all_reduce)

    def any(self, flag: bool) -> bool:
        """Return True where the flag is true in any process."""
        return flag if self.world_size == 1 else bool(self._sum(torch.tensor(flag, dtype=torch.int32)))

    def average(self, tensors: Iterable[Tensor], parameters: Iterable[nn.Parameter] = ()) -> None:
        """Replace each tensor, and the gradient of each parameter, by its mean over the processes, in one message.

        A process without a gradient, whose rows have not come to a parameter, counts as one of zeros; where all are
        without, there is none.
        """
        if self.world_size == 1:
            return
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        tensors = [*gradients, *tensors]
        known = tensors[0].new_tensor([one.grad is not None for one in parameters])
        message = torch.cat([tensor.flatten() for tensor in (*tensors, known)])
        _or_lost(lambda: dist.all_reduce(message))
        message /= self.world_size
        *means, shares = message.split([tensor.numel() for tensor in (*tensors, known)])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))
        for parameter, gradient, share in zip(parameters, gradients, shares.tolist(), strict=True):
            parameter.grad = gradient if share else None

    def stack(self, tensor: Tensor) -> Tensor:
        """Return the vectors of all processes, (world_size, n), from every process's own, (n,)."""
        return gather_rows(tensor.unsqueeze(0), self.rank, self.world_size, self.all_reduce)

    def own_of_stack(self, stacked: Tensor | None) -> Tensor | None:
        """Return this process's row of a stack; None, but in the first process, if another number of them made it."""
        if stacked is None or not (self.leads or len(stacked) == self.world_size):
            return None
        # A copy, since torch reads a generator's state from where the storage begins, wherever the tensor does.
        return stacked[self.rank].clone()

    def reseed(self, seed: int, update: int) -> None:
        """Let every process but the first draw other random numbers, so that no two drop out the same units."""
        if not self.leads:
            torch.manual_seed(Random(f"{seed} {self.rank} {update}").getrandbits(63))

    @contextmanager
    def leader_first(self) -> Iterator[list[str]]:
        """Run a block in the first process, then in all others, which receive the list that the first has filled.

        If the block fails in the first, which says why, the others end in silence with the same exit status.
        """
        message: list[str] = []
        if self.world_size == 1:
            yield message
            return
        if not self.leads:
            received = self._broadcast(None)
            if received is None:
                raise SystemExit(2)
            yield received
            return
        try:
            yield message
        except BaseException:
            with suppress(ProcessLost):  # what happened here is what is to be known
                self._broadcast(None)
            raise
        self._broadcast(message)

    def _sum(self, tensor: Tensor) -> Tensor:
        summed = tensor.clone()
        _or_lost(lambda: dist.all_reduce(summed))
        return summed

    def _broadcast(self, message: list[str] | None) -> list[str] | None:
        box = [message]
        _or_lost(lambda: dist.broadcast_object_list(box, src=0, group=self._patient))
        return box[0]


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes, if torchrun, or whatever else sets RANK and WORLD_SIZE, has started any.

    Raises:
        InputError: they cannot be reached, or a variable of the environment is no number.
    """
    world_size = _number("WORLD_SIZE", 1, least=1)
    if world_size == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    local_rank = _number("LOCAL_RANK", _number("RANK", 0, least=0), least=0)
    local_world_size = _number("LOCAL_WORLD_SIZE", world_size, least=1)
    # NCCL connects when the first tensor on a GPU is sent: a run on the CPU never does.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
        patient = dist.new_group(backend="gloo", timeout=_PREPARING)
        assert isinstance(patient, dist.ProcessGroup), "this process is in it"
    except (RuntimeError, ValueError) as error:
        raise InputError(f"cannot join the other processes of the run, {world_size} in all: {_reason(error)}") from None
    yield Ranks(dist.get_rank(), world_size, local_rank, local_world_size, patient)
    dist.destroy_process_group()  # not after an error: it may wait for a process that has ended


def _number(name: str, default: int, least: int) -> int:
    """Return the value of an environment variable."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"the environment variable {name} must be a whole number of at least {least}, got {text!r}")
    return int(text)


def _or_lost(send: Callable[[], Value]) -> Value:
    """Return what a call to the other processes returns; gloo's errors have no class of their own."""
    try:
        return send()
    except RuntimeError as error:
        raise ProcessLost(
            f"process {dist.get_rank()} has lost another process of the run, which has ended or does not answer "
            f"({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    """Return the message of a torch.distributed error, without the source line before it and the advice after it."""
    first_line = str(error).strip().partition("\n")[0]
    if first_line.startswith("["):
        first_line = first_line.partition("] ")[2]
    return first_line.partition(". ")[0]
