"""Every module of a chain in a process of its own, none of which waits for another."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import evaluating, forked_random
from sgrnn.decoupled.chain import Chain
from sgrnn.decoupled.unit import Mail, Part, Unit
from sgrnn.errors import ProcessLost, at_least

_PATIENCE = 10.0  # seconds until a process that is asked to end is ended
_PAUSE = 0.001  # seconds, of a process that has nothing to do


@dataclass(frozen=True)
class Work:
    """Work that a module has done in its process.

    Args:
        updates: of the module.
        dropped: messages that it could not send, its receiver's queue being full.
        seconds: from its first step to its last.
    """

    updates: int
    dropped: int
    seconds: float


def train_in_processes(
    chain: Chain,
    inputs: Tensor,
    targets: Tensor,
    *,
    batch_size: int,
    updates: int,
    processes: int | None = None,
    pending: int = 4,
    checkpoint: str | Path | None = None,
    save_every: float = 60.0,
    seed: int = 0,
) -> list[Work]:
    """Train the modules of a chain in processes of their own, which exchange messages through queues without waiting.

    Each module goes on as fast as it can, by its feedback's replies: no update locking. The first draws batches of the
    data; every other takes what it is sent, and waits for that alone (forward locking), or with input synthesizers
    takes a batch of its own where nothing has come. A message for which the receiver's queue has no place is dropped,
    so that a slow module sees fewer. The chain lies in shared memory: it is trained in place, and is at any moment the
    network as far as it has come.

    Args:
        chain: on a CPU, with feedback that waits for nothing; module, loss and optimizers must be picklable.
        inputs: (n, ...), all that there are.
        targets: (n, ...).
        batch_size: rows of a batch.
        updates: of the slowest module, after which all end.
        processes: how many, over which the modules are shared out in order; None for one each.
        pending: messages in a queue at most.
        checkpoint: a file that the chain's ``state_dict`` is written to, now and then and at the end, however it comes.
        save_every: seconds between two checkpoints.
        seed: of the batches.

    Returns:
        what became of every module, in order.

    Raises:
        ValueError: there are more processes than modules, feedback waits for another module, or the checkpoint has no
            folder.
        ProcessLost: a process has died; says which, and the chain is as far as it had come.
    """
    processes = len(chain.network) if processes is None else processes
    _require(chain, inputs, targets, processes)
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        if checkpoint.is_dir() or not checkpoint.absolute().parent.is_dir():
            raise ValueError(f"checkpoint must be a file in a folder that is there, got {checkpoint}")
    for name, value in (("batch_size", batch_size), ("updates", updates), ("pending", pending)):
        at_least(name, value, 1)
    context = multiprocessing.get_context("spawn")
    chain.share_memory()
    stop, counts = context.Event(), torch.zeros(len(chain.network), 3, dtype=torch.float64).share_memory_()
    mail = [None, *(Mail(context.Queue(pending), context.Queue(pending)) for _ in chain.feedback), None]
    data = inputs.share_memory_(), targets.share_memory_()
    shares = torch.arange(len(chain.network)).tensor_split(processes)
    workers, parts = [], parts_of(chain, inputs)
    for share in shares:
        units = [
            (number, parts[number], *data, batch_size, mail[number], mail[number + 1], pending, seed + number)
            for number in share.tolist()
        ]
        name = ", ".join(f"modules.{number}" for number in share.tolist())
        workers.append(context.Process(target=_work, args=(units, stop, counts), name=name, daemon=True))
    try:
        for worker in workers:
            worker.start()
        _watch(workers, counts, updates, chain, checkpoint, save_every)
    finally:
        stop.set()
        for worker in workers:
            _end(worker)
        _save(chain, checkpoint)
    return [Work(int(done), int(dropped), seconds) for done, dropped, seconds in counts.tolist()]


def parts_of(chain: Chain, inputs: Tensor) -> list[Part]:
    """Return the modules of a chain, each with what is trained beside it.

    Args:
        chain: the chain.
        inputs: (n, ...) of it, which tell what its messages are like.
    """
    last = len(chain.network) - 1
    parts = []
    message = inputs[:2].clone()
    for number, module in enumerate(chain.network):
        part = Part(module, chain.optimizers[number], update_probability=chain.update_probability, number=number)
        if number < last:
            part.feedback = chain.feedback[number]  # pyright: ignore[reportAttributeAccessIssue]  (checked by Chain)
            part.feedback_optimizer = chain.feedback_optimizers[number]
        else:
            part.loss = chain.loss
        if number and chain.input_synthesizers is not None:
            part.input_synthesizer = chain.input_synthesizers[number - 1]
            part.input_optimizer = chain.input_optimizers[number - 1]
            part.message_shape = tuple(message.shape[1:])
        if chain.input_synthesizers is not None:
            with torch.no_grad(), evaluating(module), kept_buffers(module), forked_random(message.device):
                message = module(message)
        parts.append(part)
    return parts


def _work(units: Sequence[tuple[int, Any]], stop: Any, counts: Tensor) -> None:
    """Train some modules by turns until all are to stop."""
    torch.set_num_threads(1)
    own, began = [(number, Unit(*options)) for number, *options in units], time.monotonic()
    while not stop.is_set():
        busy = False
        for number, unit in own:
            busy = unit.step() or busy
            counts[number] = torch.tensor([unit.updates, unit.dropped, time.monotonic() - began])
        if not busy:
            time.sleep(_PAUSE)
    for _, unit in own:
        for mail in (unit.below, unit.above):
            if mail is not None:
                mail.up.cancel_join_thread()  # nobody reads what is still on its way
                mail.down.cancel_join_thread()


def _watch(
    workers: Sequence[Any], counts: Tensor, updates: int, chain: Chain, checkpoint: Path | None, save_every: float
) -> None:
    """Wait until the slowest module has made its updates, saving now and then.

    Raises:
        ProcessLost: a process has ended.
    """
    saved = time.monotonic()
    while int(counts[:, 0].min()) < updates:
        for worker in workers:
            worker.join(0.05 / len(workers))
            if worker.exitcode is not None:
                kept = "" if checkpoint is None else f"; the modules as far as they had come are in {checkpoint}"
                raise ProcessLost(
                    f"the process of {worker.name} has ended with exit code {worker.exitcode}, after "
                    f"{counts[:, 0].long().tolist()} updates of the modules{kept}"
                )
        if time.monotonic() - saved > save_every:
            _save(chain, checkpoint)
            saved = time.monotonic()


def _end(worker: Any) -> None:
    if worker.pid is None:
        return
    worker.join(_PATIENCE)
    if worker.exitcode is None:  # for example as it reads what a process began to write that is no more
        worker.kill()
        worker.join()


def _save(chain: Chain, path: Path | None) -> None:
    if path is not None:
        aside = path.with_name(f".{path.name}")
        torch.save(chain.state_dict(), aside)
        os.replace(aside, path)


def _require(chain: Chain, inputs: Tensor, targets: Tensor, processes: int) -> None:
    at_least("processes", processes, 1)
    if processes > len(chain.network):
        raise ValueError(f"processes must be at most the modules, {len(chain.network)}, got {processes}")
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"targets must be as many as inputs, {len(inputs)}, and not none, got {len(targets)}")
    for number, one in enumerate(chain.feedback):
        if getattr(one, "waits_for", "nothing") != "nothing":
            raise ValueError(
                f"feedback.{number} must wait for nothing, so that no process does, got {type(one).__name__}, which "
                f"waits for the {getattr(one, 'waits_for', '')}"
            )
    places = {parameter.device.type for parameter in chain.parameters()}
    if places != {"cpu"}:
        raise ValueError(f"chain must lie on a CPU, whose memory processes share, got {', '.join(sorted(places))}")
