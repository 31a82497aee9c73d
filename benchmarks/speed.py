"""How fast is a training step? Ours under each estimator, beside a plain loop, over a grid of models and windows.

    python benchmarks/speed.py [--quick] [--json FILE] [--figure FILE] [--models 2x200 2x650 3x1150]
                               [--vocabularies 50 10000 33000] [--windows 1 5 20 70] [--batches 20]
                               [--precisions float32 bfloat16] [--contenders plain truncated synthetic ...]
                               [--rounds 12] [--threads N] [--device cpu|cuda]

Contenders: `plain`, what a user writes today with `torch.nn.LSTM`; `plain, compiled`, the same through `torch.compile`,
where that works; `plain, autocast`, the same under bfloat16 autocast; `full`, `truncated`, `synthetic` and `mixed while
real`, ours; `synthetic, light`, whose synthesizer has half the size and sees two steps ahead in the place of eight.
Ours take their output layer's products in the setting's precision, and `truncated, low core` those of its core too; the
others ignore it. Everybody takes one update per span: --span steps, or the window where that is longer.

Each contender lives in a process of its own, which is asked for some updates in its turn, round after round; a ratio is
between two contenders of the same round. Reported are medians and quartiles. Beside the tokens per second stand the
share of the measured peak, which is the time that the bare matrix products of an update take, of the same shapes and in
the same precision, over the time of the whole update, and the peak memory: on a CPU the process's, over what it was
before it began, on a GPU what was allocated there. The core's products count as float32, so that who takes them in
bfloat16 may come to more than the whole.

--quick takes eight settings and fewer rounds.
"""

import argparse
import itertools
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from contenders import CONTENDERS, Setting
from matplotlib.figure import Figure
from options import command, parser, whole
from records import Record, save_figure, spread, write_records
from runs import prepare_process

from sgrnn.config.build.optimizer import choose_device

QUICK = [
    Setting(2, 200, 10_000, 20, 20, 20),
    Setting(2, 200, 10_000, 5, 20, 20),
    Setting(2, 200, 10_000, 5, 20, 20, "bfloat16"),
    Setting(2, 650, 10_000, 35, 35, 20, "bfloat16"),
    Setting(1, 512, 50, 5, 5, 64, optimizer="adam"),
    Setting(1, 512, 50, 5, 20, 64, optimizer="adam"),
    Setting(1, 128, 50, 5, 5, 64, optimizer="adam"),
    Setting(1, 128, 50, 5, 20, 64, optimizer="adam"),
]
MODELS = [(2, 200), (2, 650), (3, 1150)]
RATIOS = [
    ("truncated", "plain"), ("truncated", "plain, autocast"), ("truncated", "plain, compiled"), ("truncated", "full"),
    ("truncated, low core", "plain"), ("truncated, low core", "plain, autocast"),
    ("synthetic", "truncated"), ("synthetic, light", "truncated"), ("synthetic", "full"),
    ("mixed while real", "truncated"),
]  # fmt: skip
ROUND_SECONDS = 0.4
MEBIBYTE = 1 << 20


def serve(pipe: Connection, name: str, setting: Setting, threads: int) -> None:
    """A contender's process: so many updates whenever asked, seconds each; at the end, its memory in bytes."""
    prepare_process(threads)
    before = peak_memory(setting.device)
    try:
        update = CONTENDERS[name](setting)
        update()
    except Exception as error:  # torch.compile finds no compiler, or no way: that is an answer
        pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return
    pipe.send(None)
    while (updates := pipe.recv()) > 0:
        began = time.perf_counter()
        for _ in range(updates):
            update()
        finish(setting.device)
        pipe.send((time.perf_counter() - began) / updates)
    pipe.send(peak_memory(setting.device) - before)


def finish(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: str) -> int:
    """Bytes of this process, at most, so far, in the device's own memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent's memory in ru_maxrss
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def products(setting: Setting) -> Iterator[tuple[int, int, int, int, str]]:
    """The matrix products of an update with truncated windows: (times, rows, inner, columns, precision)."""
    hidden, gates, steps, tokens = setting.hidden, 4 * setting.hidden, setting.span, setting.tokens
    for _ in range(setting.layers):
        yield 1, tokens, hidden, gates, "float32"
        yield steps, setting.batch, hidden, gates, "float32"
        yield 1, tokens, gates, hidden, "float32"
        yield steps, setting.batch, gates, hidden, "float32"
        yield 2, gates, tokens, hidden, "float32"
    yield 1, tokens, hidden, setting.vocabulary, setting.precision
    yield 1, tokens, setting.vocabulary, hidden, setting.precision
    yield 1, setting.vocabulary, tokens, hidden, setting.precision


def least_seconds(setting: Setting) -> float:
    """What the products alone take, one after another, each the best of a few tries."""
    total = 0.0
    for times, rows, inner, columns, precision in products(setting):
        kind = getattr(torch, precision)
        one, other = (torch.rand(shape, device=setting.device).to(kind) for shape in ((rows, inner), (inner, columns)))
        out = torch.empty(rows, columns, dtype=kind, device=setting.device)
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            torch.mm(one, other, out=out)
            finish(setting.device)
            best = min(best, time.perf_counter() - began)
        total += times * best
    return total


def race(
    setting: Setting, names: list[str], rounds: int, threads: int
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, str]]:
    """Seconds per update of each contender, round by round; its memory in bytes; why others do not work here."""
    context = get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    failed: dict[str, str] = {}

    def ask(name: str, question: int | None = None) -> Any:
        try:
            if question is not None:
                pipes[name].send(question)
            return pipes[name].recv()
        except (EOFError, OSError):
            return "its process was killed"  # above all for want of memory

    def fail(name: str, why: str) -> None:
        failed[name] = why
        del pipes[name], times[name]

    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, name, setting, threads), daemon=True))
        processes[-1].start()
        theirs.close()  # or its end would go unnoticed
        failure = ask(name)
        if failure is not None:
            fail(name, failure)
    updates = dict.fromkeys(pipes, 2)
    for number in range(rounds + 1):  # the first round warms up, and tells how many updates fill a round
        for name in list(pipes):
            seconds = ask(name, updates[name])
            if isinstance(seconds, str):
                fail(name, seconds)
            elif number:
                times[name].append(seconds)
            else:
                updates[name] = max(1, round(ROUND_SECONDS / seconds))
    memory = {name: ask(name, 0) for name in pipes}
    for process in processes:  # or what is timed next shares the processor with their end
        process.join()
    return times, memory, failed


def measure(setting: Setting, names: list[str], rounds: int, threads: int) -> list[Record]:
    """Time the contenders, print and return what was found."""
    where = machine(setting.device, threads)
    print(f"\n{setting.name}: {setting.optimizer}, {where}, {rounds} rounds", flush=True)
    times, memory, failed = race(setting, names, rounds, threads)
    least = least_seconds(setting)
    records: list[Record] = []
    for name, values in times.items():
        seconds = statistics.median(values)
        found = {
            "milliseconds per update": 1e3 * seconds, "tokens per second": setting.tokens / seconds,
            "share of peak": least / seconds, "peak memory, MiB": memory[name] / MEBIBYTE,
        }  # fmt: skip
        records += [{"metric": metric, "value": value, "contender": name} for metric, value in found.items()]
        print(f"  {name:20s}{spread([1e3 * value for value in values], 2):>28s} ms", end="")
        print(f"{found['tokens per second']:10,.0f} tokens/s  {found['share of peak']:4.0%} of peak", end="")
        print(f"{found['peak memory, MiB']:8.0f} MiB")
    for name, why in failed.items():
        records.append({"metric": "failure", "value": why, "contender": name})
        print(f"  {name:20s}does not work here: {why}")
    for one, other in RATIOS:
        if one in times and other in times:
            ratios = [ours / theirs for ours, theirs in zip(times[one], times[other], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            records.append({"metric": f"time ratio {one} / {other}", "value": middle, "low": low, "high": high})
            print(f"  {one} / {other}: {spread(ratios)}")
    fixed = {"setting": setting.name, **asdict(setting), "threads": threads, "machine": where, "rounds": rounds}
    return [record | fixed for record in records]


def machine(device: str, threads: int) -> str:
    """What it was measured on, in words."""
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {threads} threads"


def plot(records: list[Record], path: Path) -> None:
    """Bars: tokens per second over those of the first contender, for each setting."""
    rows = [record for record in records if record["metric"] == "tokens per second"]
    settings = list(dict.fromkeys(record["setting"] for record in rows))
    names = list(dict.fromkeys(record["contender"] for record in rows))
    figure = Figure(figsize=(10, 0.8 + 0.2 * len(settings) * len(names)), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(names):
        speeds = {record["setting"]: record["value"] for record in rows if record["contender"] == name}
        first = {record["setting"]: record["value"] for record in rows if record["contender"] == names[0]}
        known = [place for place, setting in enumerate(settings) if setting in speeds and setting in first]
        axes.barh(
            [place + 0.8 * index / len(names) for place in known],
            [speeds[settings[place]] / first[settings[place]] for place in known], 0.8 / len(names), label=name,
        )  # fmt: skip
    axes.set_yticks([place + 0.4 for place in range(len(settings))], settings)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"tokens per second, over those of: {names[0]}")
    axes.invert_yaxis()
    axes.legend()
    save_figure(figure, path)


def shape(text: str) -> tuple[int, int]:
    """Layers and units of "2x650"."""
    layers, _, units = text.partition("x")
    return whole(1)(layers), whole(1)(units)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "")
    made.add_argument("--models", type=shape, nargs="+", default=MODELS, metavar="LAYERSxUNITS")
    made.add_argument("--vocabularies", nargs="+", type=whole(1), default=[50, 10_000, 33_000])
    made.add_argument("--windows", nargs="+", type=whole(1), default=[1, 5, 20, 70])
    made.add_argument("--span", type=whole(1), default=20, help="steps of an update, at least")
    made.add_argument("--batches", nargs="+", type=whole(1), default=[20])
    made.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    made.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    made.add_argument("--rounds", type=whole(2))
    made.add_argument("--threads", type=whole(1), default=os.cpu_count())
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw speeds there, as PNG")
    return made.parse_args()


def main() -> None:
    """Measure every setting."""
    arguments = parse_arguments()
    prepare_process(arguments.threads)
    choose_device(arguments.device)
    settings = [replace(setting, device=arguments.device) for setting in QUICK]
    if not arguments.quick:
        settings = [
            Setting(
                layers,
                hidden,
                vocabulary,
                window,
                max(arguments.span, window),
                batch,
                precision,
                device=arguments.device,
            )
            for (layers, hidden), vocabulary, window, batch, precision in itertools.product(
                arguments.models, arguments.vocabularies, arguments.windows, arguments.batches, arguments.precisions
            )
        ]
    records: list[Record] = []
    for setting in settings:
        rounds = arguments.rounds or (6 if arguments.quick else 12)
        records += measure(setting, arguments.contenders, rounds, arguments.threads)
        write_records(records, arguments.json)
    if arguments.figure is not None:
        plot(records, arguments.figure)


if __name__ == "__main__":
    command(main)
