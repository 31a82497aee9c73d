"""Several processes that share a batch: real ones, found as torchrun lets them find each other, and threads."""

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch import Tensor

from sgrnn.all_reduce import AllReduce

Found = TypeVar("Found")


def in_threads(parts: int, prepare: Callable[[int, AllReduce], Callable[[], Found]]) -> list[Found]:
    """What `prepare(part, all_reduce)()` gives in each of so many threads, which stand for processes.

    What they prepare is made before any of them runs: they share torch's random generator.
    """
    barrier = threading.Barrier(parts, timeout=60)
    held: list[Any] = [None] * parts
    found: list[Any] = [None] * parts

    def all_reduce(part: int, tensor: Tensor) -> Tensor:
        held[part] = tensor.clone()
        barrier.wait()
        summed = torch.stack(held).sum(dim=0)
        barrier.wait()
        return summed

    def work(part: int, run: Callable[[], Found]) -> None:
        try:
            found[part] = run()
        except BaseException as error:
            found[part] = error
            barrier.abort()

    prepared = [prepare(part, partial(all_reduce, part)) for part in range(parts)]
    threads = [threading.Thread(target=work, args=(part, run)) for part, run in enumerate(prepared)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in found:
        if isinstance(outcome, BaseException) and not isinstance(outcome, threading.BrokenBarrierError):
            raise outcome
    return found


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environments(size: int) -> list[dict[str, str]]:
    """What torchrun tells each of so many processes on this machine."""
    common = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [
        {name: str(value) for name, value in {**common, "RANK": index, "LOCAL_RANK": index}.items()}
        for index in range(size)
    ]


def start_together(size: int, run: Callable[..., None], *arguments: Any) -> Sequence[BaseProcess]:
    """Begin `run(*arguments)` in so many processes, forked from one that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sgrnn.cli.app", "torch._dynamo"])
    processes = [context.Process(target=_within, args=(told, run, arguments)) for told in environments(size)]
    for process in processes:
        process.start()
    return processes


def run_together(size: int, run: Callable[..., None], *arguments: Any) -> None:
    """The same, to their end, which must be a good one."""
    processes = start_together(size, run, *arguments)
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        if process.is_alive():
            process.kill()
    assert codes == [0] * size, codes


def _within(told: dict[str, str], run: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(told)
    torch.set_num_threads(1)
    run(*arguments)
