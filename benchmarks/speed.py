"""How fast is a training step? Ours under each estimator, beside a plain loop, over a grid of models and windows.

    python benchmarks/speed.py [--quick] [--json FILE] [--models 2x200 ...] [--contenders plain ...] [--figure FILE]

Contenders: `plain`, what a user writes today with `torch.nn.LSTM`; `plain, compiled`, the same through `torch.compile`,
where that works; `plain, autocast`, the same under bfloat16 autocast; `full`, `truncated`, `synthetic` and `mixed while
real`, ours; `synthetic, large`, with four times the units and the model run ahead; and `synthetic, light`, half as
large, which sees two steps ahead in the place of eight.
Ours take their output layer's products in the setting's precision, and `truncated, low core` those of its core too; the
others ignore it. Everybody takes one update per span: --span steps, or the window where that is longer.

Each contender lives in a process of its own, which is asked for some updates in its turn, round after round; a ratio is
between two contenders of the same round. Reported are medians and quartiles. Beside the tokens per second stand the
share of the measured peak, which is the time that the bare matrix products of an update take, of the same shapes and in
the same precision, over the time of the whole update, and the peak memory: on a CPU the process's, over what it was
before it began, on a GPU what was allocated there. The core's products count as float32, so that who takes them in
bfloat16 may come to more than the whole.

How many threads, and how they should wait: every contender runs with each number of --threads, more than one of them
in each way of --waiting: `spin` for a while, which is GNU OpenMP's default, or `sleep`, OMP_WAIT_POLICY=passive. All
are timed beside each number of --busy processes that compute without end. Beside the time by the clock stands that of
processors, of all threads. Multiply-adds of a step of all rows, forwards, are what `sgrnn.training.threads` goes by.

--quick takes eight settings and fewer rounds.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import torch
from contenders import CONTENDERS, Setting, shape
from frame import Record, benchmark, grid, whole
from matplotlib.figure import Figure
from race import Entrant, Race, Timing, busy, finish
from shown import new_figure, plot_middles, print_table, quartiles, style, write_quartiles

from sgrnn.config.build.optimizer import choose_device
from sgrnn.training.train_all import prepare_process

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
    ("synthetic", "truncated"), ("synthetic, large", "truncated"), ("synthetic, light", "truncated"),
    ("synthetic", "full"),
    ("mixed while real", "truncated"),
]  # fmt: skip
DRAWN = {"plain": ["truncated"], "truncated": ["synthetic", "synthetic, large", "synthetic, light"]}
MILLISECONDS, PROCESSORS = "milliseconds per update", "processor milliseconds per update"
PLACE = ("contender", "threads", "waiting", "busy")
ROUND_SECONDS = 0.4
MEBIBYTE = 1 << 20


def products(setting: Setting) -> Iterator[tuple[int, int, int, int, str]]:
    """Yield the matrix products of an update with truncated windows: (times, rows, inner, columns, precision)."""
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
    """Return what the products alone take, one after another, each the best of a few tries."""
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


def multiply_adds(setting: Setting) -> int:
    """Return the multiply-adds of a forward step of all rows."""
    layers = setting.layers * 2 * setting.hidden * 4 * setting.hidden
    return setting.batch * (layers + setting.hidden * setting.vocabulary)


def measure(setting: Setting, entrants: Sequence[Entrant], beside: Sequence[int], rounds: int) -> list[Record]:
    """Time the entrants in one setting, side by side and beside each number of busy processes."""
    race = Race(setting, {entrant: entrant for entrant in entrants}, ROUND_SECONDS)
    loads: dict[int, dict[Entrant, list[Timing]]] = {}
    for number in beside:
        with busy(number):
            loads[number] = race.times(rounds)
    memory, least = race.end(), {}
    for threads in {entrant.threads for entrant in entrants}:
        torch.set_num_threads(threads)
        least[threads] = least_seconds(setting)
    records: list[Record] = [{"metric": "failure", "value": why, **key._asdict()} for key, why in race.failed.items()]
    for number, times in loads.items():
        for entrant, timings in times.items():
            clock, processor = zip(*timings, strict=True)
            seconds = statistics.median(clock)
            found = {
                MILLISECONDS: quartiles([1e3 * value for value in clock]),
                PROCESSORS: quartiles([1e3 * value for value in processor]),
                "tokens per second": {"value": setting.tokens / seconds},
                "share of peak": {"value": least[entrant.threads] / seconds},
                "peak memory, MiB": {"value": memory[entrant] / MEBIBYTE},
            }
            for one, other in RATIOS:
                reference = times.get(entrant._replace(contender=other))
                if entrant.contender == one and reference is not None:
                    ratios = [ours.clock / theirs.clock for ours, theirs in zip(timings, reference, strict=True)]
                    found[f"time ratio {one} / {other}"] = quartiles(ratios)
            fields = {**entrant._asdict(), "busy": number}
            records += [{"metric": metric, **values, **fields} for metric, values in found.items()]
    where = torch.cuda.get_device_name() if setting.device == "cuda" else f"CPU, {os.cpu_count()} cores"
    fixed = {"setting": setting.name, **asdict(setting), "machine": where, "rounds": rounds}
    return [record | fixed | {"multiply_adds": multiply_adds(setting)} for record in records]


def show(records: list[Record]) -> None:
    """Print for every setting a line for each contender, way of waiting and load."""
    for setting in dict.fromkeys(r["setting"] for r in records):
        same = [r for r in records if r["setting"] == setting]
        title = f"{setting}: {same[0]['optimizer']}, {same[0]['machine']}, {same[0]['rounds']} rounds, "
        title += f"{same[0]['multiply_adds'] / 1e6:.1f} M multiply-adds a step"
        lines = []
        for place in dict.fromkeys(tuple(r.get(name) for name in PLACE) for r in same):
            own = {r["metric"]: r for r in same if tuple(r.get(name) for name in PLACE) == place}
            name, threads, waiting, number = place
            label = [name, f"{threads}", waiting or "", f"{number or 0}"]
            if "failure" in own:
                lines.append([*label, f"does not work here: {own['failure']['value']}", "", "", "", "", ""])
                continue
            cells = [write_quartiles(own[metric]) if metric in own else "" for metric in (MILLISECONDS, PROCESSORS)]
            for metric, form in (("tokens per second", ",.0f"), ("share of peak", ".0%"), ("peak memory, MiB", ",.0f")):
                cells.append(format(own[metric]["value"], form) if metric in own else "")
            ratios = [
                f"{write_quartiles(r)} of {metric.split(' / ')[1]}'s" for metric, r in own.items() if " / " in metric
            ]
            lines.append([*label, *cells, "; ".join(ratios)])
        header = ["", "threads", "waiting", "busy", "ms per update", "ms of processors", "tokens/s", "of peak", "MiB"]
        print_table([*header, "time"], lines, title)


def draw(records: list[Record]) -> Figure:
    """Draw ratios of times against the window: truncation over the plain loop above, synthetic over truncated below.

    A panel for each vocabulary, a colour for each estimator, a marker for each model.
    """
    ratios = [r for r in records if r["metric"].startswith("time ratio")]
    vocabularies = sorted({r["vocabulary"] for r in ratios})
    windows = sorted({r["window"] for r in ratios})
    models = list(dict.fromkeys((r["layers"], r["hidden"], r["batch"], r["precision"]) for r in ratios))
    figure, panels = new_figure(len(vocabularies), rows=2, height=3.6, sharex=True, sharey="row")
    figure.suptitle("Time of an update, by window T")
    for row, (other, names) in enumerate(DRAWN.items()):
        for axes, vocabulary in zip(panels[row * len(vocabularies) :], vocabularies, strict=False):
            for name in names:
                for model, marker in zip(models, "os^Dvp*hX<>d", strict=False):
                    points = [
                        (r["window"], r["value"]) for r in ratios
                        if r["metric"] == f"time ratio {name} / {other}" and r["vocabulary"] == vocabulary
                        and (r["layers"], r["hidden"], r["batch"], r["precision"]) == model
                    ]  # fmt: skip
                    label = f"{name}, {model[0]}x{model[1]}"
                    plot_middles(axes, points, label, windows, **{**style(name), "marker": marker})
            axes.axhline(1, color="black", linewidth=0.8)
            axes.set_title(f"V = {vocabulary:,}" if row == 0 else "")
            axes.set_xlabel("window T" if row else "")
        panels[row * len(vocabularies)].set_ylabel(f"time over that of {'the plain loop' if row == 0 else other}")
        handles, labels = panels[row * len(vocabularies)].get_legend_handles_labels()
        if handles:
            panels[(row + 1) * len(vocabularies) - 1].legend(handles, labels, fontsize="small")
    return figure


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Measure every setting."""
    prepare_process(asked.threads[0])
    choose_device(asked.device)
    entrants = [Entrant(*fields.values()) for fields in grid(contender=asked.contenders, threads=asked.threads)]
    entrants = [
        entrant._replace(waiting=way)
        for entrant in entrants for way in (asked.waiting if entrant.threads > 1 else asked.waiting[:1])
    ]  # fmt: skip
    settings = [replace(setting, device=asked.device) for setting in QUICK]
    if not asked.quick:
        choices = grid(
            model=asked.models, vocabulary=asked.vocabularies, window=asked.windows, batch=asked.batches,
            precision=asked.precisions,
        )  # fmt: skip
        settings = []
        for fields in choices:
            layers, hidden = fields.pop("model")
            span = max(asked.span, fields["window"])
            settings.append(Setting(layers=layers, hidden=hidden, span=span, device=asked.device, **fields))
    for setting in settings:
        yield from measure(setting, entrants, asked.busy, asked.rounds or (6 if asked.quick else 12))
        print(setting.name, flush=True)


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    made.add_argument("--models", type=shape, nargs="+", default=MODELS, metavar="LAYERSxUNITS")
    made.add_argument("--vocabularies", nargs="+", type=whole(1), default=[50, 10_000, 33_000])
    made.add_argument("--windows", nargs="+", type=whole(1), default=[1, 5, 20, 70])
    made.add_argument("--span", type=whole(1), default=20, help="steps of an update, at least")
    made.add_argument("--batches", nargs="+", type=whole(1), default=[20])
    made.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    made.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    made.add_argument("--rounds", type=whole(2))
    made.add_argument("--threads", nargs="+", type=whole(1), default=[os.cpu_count()])
    made.add_argument("--waiting", nargs="+", choices=["spin", "sleep"], default=[None], help="as the environment says")
    made.add_argument("--busy", nargs="+", type=whole(0), default=[0], help="processes beside")
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
