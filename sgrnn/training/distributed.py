"""Several processes that train one run together, each on its share of the rows, as torchrun starts them.

    torchrun --nproc-per-node=4 -m sgrnn train RECIPE

Gradients are averaged after the backward passes of an update and not by DistributedDataParallel: an estimator goes
backwards several times, through a loss that is no part of the model's forward pass, which DDP's hooks take for
mistakes.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor

from sgrnn.all_reduce import AllReduce, gather_rows
from sgrnn.errors import InputError, ProcessLost
from sgrnn.span import Span
from sgrnn.state import State, map_state, rows

Value = TypeVar("Value")

_PATIENCE = timedelta(minutes=10)  # with a process that does not answer; one that has ended is missed at once
_PREPARING = timedelta(days=1)  # for the first process to encode a large text
_LOST = re.compile(r"gloo.transport|connect|closed|closure|peer|time[d ]*out", re.IGNORECASE)  # in what gloo says
_BUCKET = 1 << 22  # numbers that are averaged as one message


@final
class Ranks:
    """The processes of a run, seen from one of them. All of them call the same methods in the same order.

    Args:
        index: the number of this process, from 0, the one that leads: it alone writes.
        size: how many there are.
        local: its number on this machine, which is that of its GPU.
        local_size: how many there are on this machine.
        patient: a group of all processes whose messages may take a day.

    Every method raises ProcessLost if another process has ended.
    """

    def __init__(
        self,
        index: int = 0,
        size: int = 1,
        local: int = 0,
        local_size: int = 1,
        patient: dist.ProcessGroup | None = None,
    ) -> None:
        self.index, self.size, self.local, self.local_size = index, size, local, local_size
        self._patient = patient

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ranks":
        """Itself: what an estimator that is copied asks are the same processes."""
        return self

    @property
    def all_reduce(self) -> AllReduce | None:
        """What sums a tensor over the processes; None where there is one."""
        return None if self.size == 1 else self._total

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    @property
    def command(self) -> list[str]:
        """What runs the command ``sgrnn`` by as many processes on a machine."""
        return ["sgrnn"] if self.size == 1 else ["torchrun", f"--nproc-per-node={self.local_size}", "-m", "sgrnn"]

    def held(self, batch_size: int) -> int:
        """How many rows of a batch a process holds.

        Raises:
            InputError: they cannot be shared out equally.
        """
        if batch_size % self.size:
            raise InputError(
                f"training.batch_size must be a multiple of the number of processes, {self.size}, got {batch_size}"
            )
        return batch_size // self.size

    def share(self, span: Span) -> Span:
        """The rows of a span that this process holds."""
        if self.size == 1:
            return span
        held = self.held(span.batch_size)
        return span.rows(self.index * held, (self.index + 1) * held)

    def share_state(self, state: State, batch_size: int) -> State:
        """The same of the state of all rows."""
        if self.size == 1:
            return state
        held = self.held(batch_size)
        return map_state(Tensor.contiguous, rows(state, self.index * held, (self.index + 1) * held))

    def gather_state(self, state: State) -> State:
        """The state of all rows, from the states of every process's."""
        return gather_rows(state, self.index, self.size, self.all_reduce)

    def _total(self, tensor: Tensor) -> Tensor:
        found = tensor.clone()
        _or_lost(lambda: dist.all_reduce(found))
        return found

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return flag if self.size == 1 else bool(self._total(torch.tensor(flag, dtype=torch.int32)))

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put in the place of each the mean over the processes."""
        if self.size == 1:
            return
        sent = []
        for bucket in _buckets(tensors):
            # A large tensor goes as it is, so that there is no second copy of all gradients.
            alone = len(bucket) == 1 and bucket[0].is_contiguous()
            message = bucket[0].view(-1) if alone else torch.cat([tensor.flatten() for tensor in bucket])
            sent.append((bucket, message, _or_lost(lambda message=message: dist.all_reduce(message, async_op=True))))
        for bucket, message, work in sent:
            _or_lost(work.wait)
            message /= self.size
            if len(bucket) > 1 or not bucket[0].is_contiguous():
                for tensor, part in zip(bucket, message.split([tensor.numel() for tensor in bucket]), strict=True):
                    tensor.copy_(part.view_as(tensor))

    def stack(self, tensor: Tensor) -> Tensor:
        """One beside the other what every process holds, (size, ...); alone the tensor as it is."""
        if self.size == 1:
            return tensor
        return gather_rows(tensor.view(1, -1), self.index, self.size, self._total).view(self.size, *tensor.shape)

    def of_stack(self, stacked: Tensor | None) -> Tensor | None:
        """What a process like this one put into a stack; None if there were more or fewer, but for the first."""
        if stacked is None:
            return None
        held = stacked if stacked.dim() > 1 else stacked.unsqueeze(0)
        # A copy, since torch reads a generator's state from where the storage begins, wherever the tensor does.
        return held[self.index].clone() if self.leads or len(held) == self.size else None

    def reseed(self, seed: int, update: int) -> None:
        """Let every process but the first draw other random numbers, so that no two drop out the same units."""
        if not self.leads:
            torch.manual_seed(Random(f"{seed} {self.index} {update}").getrandbits(63))

    @contextmanager
    def leader_first(self) -> Iterator[list[str]]:
        """Run a block in the first process, then in all others, which are told what it puts into the list.

        If the block fails in the first, which says why, the others end in silence with the same exit status.
        """
        told: list[str] = []
        if self.size == 1:
            yield told
            return
        if not self.leads:
            heard = self._tell(None)
            if heard is None:
                raise SystemExit(2)
            yield heard
            return
        try:
            yield told
        except BaseException:
            with suppress(ProcessLost):  # what happened here is what is to be known
                self._tell(None)
            raise
        self._tell(told)

    def _tell(self, message: list[str] | None) -> list[str] | None:
        box = [message]
        _or_lost(lambda: dist.broadcast_object_list(box, src=0, group=self._patient))
        return box[0]


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes, if torchrun, or whatever else sets RANK and WORLD_SIZE, has started any.

    Raises:
        InputError: they cannot be found, or what the environment says of them is no number.
    """
    size = _number("WORLD_SIZE", 1, least=1)
    if size == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    local = _number("LOCAL_RANK", _number("RANK", 0, least=0), least=0)
    local_size = _number("LOCAL_WORLD_SIZE", size, least=1)
    # NCCL connects when the first tensor on a GPU is sent: a run on the CPU never does.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
        patient = dist.new_group(backend="gloo", timeout=_PREPARING)
        assert isinstance(patient, dist.ProcessGroup), "this process is in it"
    except (RuntimeError, ValueError) as error:
        raise InputError(f"cannot join the other processes of the run, {size} in all: {_reason(error)}") from None
    yield Ranks(dist.get_rank(), size, local, local_size, patient)
    dist.destroy_process_group()  # not after an error: it may wait for a process that has ended


def _buckets(tensors: Iterable[Tensor]) -> Iterator[Sequence[Tensor]]:
    """In order, tensors of one kind side by side, as many as one message holds."""
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        fits = bucket and held + tensor.numel() <= _BUCKET
        if bucket and not (fits and (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)):
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    if bucket:
        yield bucket


def _number(name: str, default: int, least: int) -> int:
    """What an environment variable says."""
    text = os.environ.get(name, str(default))
    if not re.fullmatch(r"\d+", text) or int(text) < least:
        raise InputError(f"the environment variable {name} must be a whole number of at least {least}, got {text!r}")
    return int(text)


def _or_lost(send: Callable[[], Value]) -> Value:
    try:
        return send()
    except RuntimeError as error:
        # NCCL's have a class, gloo's only their words; a tensor that cannot be sent is neither.
        if not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
            raise
        raise ProcessLost(
            f"process {dist.get_rank()} has lost another process of the run, which has ended or does not answer "
            f"({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    """What torch.distributed says, without the line of its source in front and its advice behind."""
    first_line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[[^]]*\] *", "", first_line).partition(". ")[0]
