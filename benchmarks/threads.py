"""How many threads should a training step take, and how should they wait? Time and CPU time of an update, by model.

    python benchmarks/threads.py [--quick] [--json FILE] [--models 1x64 1x128 ...] [--vocabularies 50 10000]
                                 [--window 5] [--span 20] [--batch 20] [--threads 1 2 ...] [--busy 0 2 ...]
                                 [--rounds 6] [--contender synthetic]

A row of the table is a model, a number of threads and what a thread does that has to wait for the others: `spin` for a
while, which is GNU OpenMP's default, or `sleep`, which is OMP_WAIT_POLICY=passive. Each is timed with the machine to
itself and beside --busy processes that compute without end. Each has a process of its own, since the way of waiting is
read when torch is loaded, and gets so many updates in its turn, round after round. Reported are the medians over the
rounds of the time by the clock and of the processor time of all threads. `products` are the multiply-adds of a step of
all rows, forwards, in millions: what `sgrnn.training.threads` goes by.

--quick takes three models and fewer rounds.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection
from subprocess import Popen
from typing import NamedTuple

from contenders import CONTENDERS, Setting
from options import command, parser, whole
from records import Record, write_records
from runs import prepare_process
from speed import shape

MODELS = [(1, 64), (1, 128), (1, 256), (1, 512), (2, 200), (2, 650)]
QUICK = [(1, 64), (1, 256), (2, 650)]
ROUND_SECONDS = 0.3


class Way(NamedTuple):
    """So many threads, and what one does that has to wait."""

    threads: int
    waiting: str


def products(setting: Setting) -> int:
    """Multiply-adds of a step of all rows, forwards."""
    layers = setting.layers * 2 * setting.hidden * 4 * setting.hidden
    return setting.batch * (layers + setting.hidden * setting.vocabulary)


def serve(pipe: Connection, contender: str, setting: Setting, threads: int) -> None:
    """A process of one way: so many updates whenever asked, and the seconds of each by the clock and of processors."""
    prepare_process(threads)
    update = CONTENDERS[contender](setting)
    update()
    pipe.send(None)
    while (updates := pipe.recv()) > 0:
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(updates):
            update()
        pipe.send(((time.perf_counter() - clock) / updates, (time.process_time() - processor) / updates))


@contextmanager
def busy(number: int) -> Iterator[list[Popen[bytes]]]:
    """So many processes that compute without end."""
    processes = [Popen([sys.executable, "-c", "while True: sum(range(1000))"]) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def waiting(way: str) -> Iterator[None]:
    """What processes that are started within are told of waiting."""
    before = os.environ.pop("OMP_WAIT_POLICY", None)
    if way == "sleep":
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)
        if before is not None:
            os.environ["OMP_WAIT_POLICY"] = before


def measure(setting: Setting, contender: str, ways: list[Way], beside: list[int], rounds: int) -> list[Record]:
    """Time every way, print and return what was found."""
    context = get_context("spawn")
    pipes: dict[Way, Connection] = {}
    processes = []
    for way in ways:
        pipes[way], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, contender, setting, way.threads), daemon=True))
        with waiting(way.waiting):
            processes[-1].start()
        pipes[way].recv()
    records: list[Record] = []
    for number in beside:
        with busy(number):
            times = take_turns(pipes, rounds)
        for way, found in times.items():
            clock, processor = (1e3 * statistics.median(seconds) for seconds in zip(*found, strict=True))
            print(f"{setting.layers}x{setting.hidden:<6}{setting.vocabulary:7}{products(setting) / 1e6:10.1f}", end="")
            print(f"{way.threads:9} {way.waiting:9}{number:5}{clock:10.2f} ms{processor:10.2f} ms of processors")
            fixed = {"products": products(setting), **way._asdict(), "busy": number, "processors": os.cpu_count()}
            records.append({"metric": "milliseconds per update", "value": clock, **fixed})
            records.append({"metric": "processor milliseconds per update", "value": processor, **fixed})
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(0)
        process.join()
    return [record | {"contender": contender, "rounds": rounds, **asdict(setting)} for record in records]


def take_turns(pipes: dict[Way, Connection], rounds: int) -> dict[Way, list[tuple[float, float]]]:
    """Seconds per update by the clock and of processors, round by round."""
    times: dict[Way, list[tuple[float, float]]] = {way: [] for way in pipes}
    updates = dict.fromkeys(pipes, 2)
    for number in range(rounds + 1):  # the first round warms up, and tells how many updates fill a round
        for way, pipe in pipes.items():
            pipe.send(updates[way])
            found = pipe.recv()
            if number:
                times[way].append(found)
            else:
                updates[way] = max(1, round(ROUND_SECONDS / found[0]))
    return times


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    processors = os.cpu_count() or 1
    made = parser(__doc__ or "")
    made.add_argument("--models", type=shape, nargs="+", metavar="LAYERSxUNITS")
    made.add_argument("--vocabularies", nargs="+", type=whole(1), default=[50, 10_000])
    made.add_argument("--window", type=whole(1), default=5)
    made.add_argument("--span", type=whole(1), default=20, help="steps of an update")
    made.add_argument("--batch", type=whole(1), default=20)
    made.add_argument("--threads", nargs="+", type=whole(1), default=sorted({1, 2, processors}))
    made.add_argument("--busy", nargs="+", type=whole(0), default=[0, processors], help="processes beside")
    made.add_argument("--rounds", type=whole(1))
    made.add_argument("--contender", choices=list(CONTENDERS), default="synthetic")
    return made.parse_args()


def main() -> None:
    """Measure every model."""
    arguments = parse_arguments()
    ways = [Way(threads, way) for threads in arguments.threads for way in ("spin", "sleep")[: min(threads, 2)]]
    models = arguments.models or (QUICK if arguments.quick else MODELS)
    rounds = arguments.rounds or (3 if arguments.quick else 6)
    print("model  vocabulary products/M  threads waiting  busy  per update")
    records: list[Record] = []
    for layers, hidden in models:
        for vocabulary in arguments.vocabularies:
            setting = Setting(layers, hidden, vocabulary, arguments.window, arguments.span, arguments.batch)
            records += measure(setting, arguments.contender, ways, arguments.busy, rounds)
            write_records(records, arguments.json)


if __name__ == "__main__":
    command(main)
