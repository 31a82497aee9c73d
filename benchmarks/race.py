"""Contenders that are timed in turns, each in a process of its own."""

import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import Popen
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from contenders import CONTENDERS, Setting

from sgrnn.training.train_all import prepare_process

Key = TypeVar("Key")


class Entrant(NamedTuple):
    """A contender, its number of threads, and what one of them does that has to wait: "spin", or "sleep"."""

    contender: str
    threads: int
    waiting: str | None = None


class Timing(NamedTuple):
    """Seconds of an update, by the clock and of processors."""

    clock: float
    processor: float


class Race(Generic[Key]):
    """Processes, one for each contender, that make a number of updates on request.

    Args:
        setting: the model, and how it is trained.
        entrants: who takes part.
        round_seconds: about how long each is timed in a round.
    """

    def __init__(self, setting: Setting, entrants: Mapping[Key, Entrant], round_seconds: float) -> None:
        context = get_context("spawn")
        self.round_seconds = round_seconds
        self.pipes: dict[Key, Connection] = {}
        self.processes: list[Any] = []
        self.failed: dict[Key, str] = {}
        """Reason why a contender does not work here, for each that failed."""
        for key, entrant in entrants.items():
            self.pipes[key], theirs = context.Pipe()
            arguments = (theirs, entrant.contender, setting, entrant.threads)
            self.processes.append(context.Process(target=serve, args=arguments, daemon=True))
            with waiting(entrant.waiting):
                self.processes[-1].start()
            theirs.close()  # or its end would go unnoticed
            self._ask(key)

    def times(self, rounds: int) -> dict[Key, list[Timing]]:
        """Time every contender round after round."""
        times: dict[Key, list[Timing]] = {key: [] for key in self.pipes}
        updates = dict.fromkeys(self.pipes, 2)
        for number in range(rounds + 1):  # the first round warms up, and tells how many updates fill a round
            for key in list(self.pipes):
                timing = self._ask(key, updates[key])
                if timing is None:
                    del times[key]
                elif number:
                    times[key].append(timing)
                else:
                    updates[key] = max(1, round(self.round_seconds / timing.clock))
        return times

    def end(self) -> dict[Key, int]:
        """End the processes, and return how many bytes of memory each took at most."""
        memory = {key: self._ask(key, 0) for key in list(self.pipes)}
        for process in self.processes:  # or what is timed next shares the processor with their end
            process.join()
        return memory

    def _ask(self, key: Key, question: int | None = None) -> Any:
        try:
            if question is not None:
                self.pipes[key].send(question)
            answer = self.pipes[key].recv()
        except (EOFError, OSError):
            answer = "its process was killed"  # above all for want of memory
        if isinstance(answer, str):
            self.failed[key] = answer
            del self.pipes[key]
            return None
        return answer


def serve(pipe: Connection, contender: str, setting: Setting, threads: int) -> None:
    """Take so many updates whenever asked, in a process of its own; at the end, tell its memory."""
    prepare_process(threads)
    before = peak_memory(setting.device)
    try:
        update = CONTENDERS[contender](setting)
        update()
    except Exception as error:  # torch.compile finds no compiler, or no way: that is an answer
        pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return
    pipe.send(None)
    while (updates := pipe.recv()) > 0:
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(updates):
            update()
        finish(setting.device)
        pipe.send(Timing((time.perf_counter() - clock) / updates, (time.process_time() - processor) / updates))
    pipe.send(peak_memory(setting.device) - before)


@contextmanager
def waiting(way: str | None) -> Iterator[None]:
    """Set what processes that are started within do in a thread that waits; None for what the environment says."""
    before = os.environ.get("OMP_WAIT_POLICY")
    if way is not None:
        os.environ.pop("OMP_WAIT_POLICY", None)
    if way == "sleep":
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)
        if before is not None:
            os.environ["OMP_WAIT_POLICY"] = before


@contextmanager
def busy(number: int) -> Iterator[list[Popen[bytes]]]:
    """Run so many processes that compute without end inside this context."""
    processes = [Popen([sys.executable, "-c", "while True: sum(range(1000))"]) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def finish(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: str) -> int:
    """Return the bytes of this process, at most, so far, in the device's own memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent's memory in ru_maxrss
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
