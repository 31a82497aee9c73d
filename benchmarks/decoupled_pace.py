"""Modules of a network in processes of their own: how many updates a second, beside one process?

    python benchmarks/decoupled_pace.py [--quick] [--json FILE] [--layers 3] [--processes 0 2 3] [--updates 2000]

A fully connected network of `benchmarks/decoupled.py` on MNIST, told the label. With 0 processes it is trained by
`Chain.train_step`, here; else by `sgrnn.decoupled.train_in_processes`, in two ways: `locked`, a layer waiting for what
the layer below sends, and `unlocked`, in which it reads a prediction where nothing has come. Updates a second are those
of the slowest layer while it ran, and of all layers together; the error is that on the test images after it. One thread
each: as many processes as there are cores are of use.

Needs the images: sgrnn data fetch mnist
"""

import argparse
import time
from collections.abc import Iterator

import torch
from decoupled_networks import Setting, build, digits, error_of
from decoupled_networks import train as train_chain
from frame import Record, benchmark, whole
from shown import print_table

from sgrnn.decoupled import Work, train_in_processes


def measure(way: str, processes: int, layers: int, updates: int) -> Record:
    """Train for so many updates of the slowest layer, and count."""
    method = "cdni" if way == "locked" else "unlocked"
    setting = Setting(method, layers, 1.0, 0, updates, 1e-3, 1e-3, 0, falling=1e-9)
    chain = build(setting)
    if processes:
        images, labels = digits("train")
        trained = train_in_processes(
            chain, images, labels, batch_size=setting.batch_size, updates=updates, processes=processes
        )
    else:
        began = time.monotonic()
        train_chain(chain, setting, (), print)
        trained = [Work(updates, 0, time.monotonic() - began)] * layers
    paces = [one.updates / one.seconds for one in trained]
    return {
        "metric": "updates a second of the slowest layer", "value": min(paces), "all": sum(paces), "way": way,
        "processes": processes, "layers": layers, "updates": [one.updates for one in trained],
        "dropped": [one.dropped for one in trained], "error": error_of(chain, "test"),
    }  # fmt: skip


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Measure every condition."""
    torch.set_num_threads(1)
    for way in ("locked", "unlocked"):
        for processes in asked.processes:
            yield measure(way, processes, asked.layers, 20 if asked.quick else asked.updates)


def show(records: list[Record]) -> None:
    """Print a line for each."""
    print_table(
        ["", "processes", "updates/s, slowest", "all layers", "updates by layer", "dropped", "test error, %"],
        [[r["way"], str(r["processes"] or "none"), f"{r['value']:.1f}", f"{r['all']:.1f}", *(
            "/".join(f"{number:,}" for number in r[name]) for name in ("updates", "dropped")
        ), f"{r['error']:.2f}"] for r in records],
    )  # fmt: skip


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    made.add_argument("--layers", type=whole(2), default=3)
    made.add_argument("--processes", type=whole(0), nargs="+", default=[0, 2, 3])
    made.add_argument("--updates", type=whole(1), default=2000, help="of the slowest layer")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show)
