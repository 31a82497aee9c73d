"""Do synthetic gradients help? Truncation, synthetic gradients and two controls at each window, on real text.

    python benchmarks/quality.py [--quick] [--json FILE] [--windows 1 5] [--seeds 0]
                                [--policies truncated synthetic zero shuffled] [--out FOLDER] [--figure FILE]

Penn Treebank words, one epoch, LSTM 1x200, batch 20. Everybody takes one Adam update (2e-3, clip 1) per span of 20
steps; only the window differs, and the windows of a span run as one batch. The controls are a zero synthetic gradient
(discount 0: what the machinery alone does; equal to truncation, or something is wrong) and synthetic gradients
shuffled across rows (what their noise alone does). Every condition is an ordinary run of `sgrnn train`, in a folder of
its own under --out: stopped, the benchmark goes on where it was when called again.
--quick trains on the first tenth of an epoch.

Needs the corpus: sgrnn data fetch ptb
"""

from pathlib import Path
from statistics import fmean

import torch
from matplotlib.figure import Figure
from records import Record, parser, spread, write_records

from sgrnn.data import TokenFiles, data_folder, prepare
from sgrnn.data.atomic import atomic_write
from sgrnn.training.loop import train
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.recipe_files import parse_recipe
from sgrnn.training.run import Run
from sgrnn.training.text import make_tokenizer, read_corpus

WORDS = """
data: {corpus: ptb, tokenizer: {kind: word}}
model: {core: lstm, hidden_size: 200}
policy: {kind: truncated, window: 20}
optimizer: {kind: adam, learning_rate: 2.0e-3}
training: {epochs: 1, batch_size: 20, span: 20, clip: 1.0, checkpoint_every: 500}
"""
POLICIES = {
    "truncated": ["--policy.kind=truncated"],
    "synthetic": ["--policy.kind=synthetic"],
    "zero": ["--policy.kind=synthetic", "--policy.discount=0"],
    "shuffled": ["--policy.kind=synthetic", "--policy.shuffle=true"],
}


def run_condition(name: str, overrides: list[str], out: Path, data: Path) -> Run:
    """Train one condition to its end, or as far as is left."""
    folder = out / name
    if (folder / "recipe.yaml").exists():
        run = Run.open(folder)
        corpus = read_corpus(run.recipe, data)
    else:
        recipe = parse_recipe(WORDS, name, overrides=overrides)
        corpus = read_corpus(recipe, data)
        run = Run.create(folder, recipe, make_tokenizer(recipe, corpus))
    files: TokenFiles = prepare(corpus, run.tokenizer, data)
    train(run, files, report=lambda record: None)
    return run


def record_of(run: Run, policy: str, window: int, seed: int) -> Record:
    """What a finished run has to say, as a flat record."""
    rows = list(run.records())
    valid = [row for row in rows if "valid_loss" in row][-1]
    late = [row for row in rows if "loss" in row][-5:]
    record: Record = {
        "metric": "validation perplexity", "value": valid["valid_perplexity"], "task": "ptb words", "policy": policy,
        "window": window, "seed": seed, "updates": valid["update"], "epochs": valid["epoch"],
        "seconds": valid["seconds"], "hidden_size": run.recipe.model.hidden_size, "threads": torch.get_num_threads(),
    }  # fmt: skip
    for figure in ("r2", "gate", "cosine", "cell_norm"):
        if figure in late[-1]:
            record[figure] = sum(row[figure] for row in late) / len(late)
    return record


def print_table(records: list[Record]) -> None:
    """Perplexity by policy and window, over seeds."""
    windows = sorted({record["window"] for record in records})
    print(f"\n{'':12s}" + "".join(f"{f'T={window}':>28s}" for window in windows))
    for policy in sorted({record["policy"] for record in records}, key=list(POLICIES).index):
        cells = []
        for window in windows:
            values = [r["value"] for r in records if (r["policy"], r["window"]) == (policy, window)]
            cells.append(spread(values, 2) if values else "")
        print(f"{policy:12s}" + "".join(f"{cell:>28s}" for cell in cells))


def plot(records: list[Record], path: Path, long: int) -> None:
    """Perplexity against the window, a line for each policy and one for truncation at the longer window."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    styles = {"truncated": "o-C0", "synthetic": "o-C2", "zero": "x:C7", "shuffled": "s:C3"}
    for policy, style in styles.items():
        found = [r for r in records if r["policy"] == policy and r["window"] != long]
        if not found:
            continue
        windows = sorted({r["window"] for r in found})
        means = [fmean(r["value"] for r in found if r["window"] == window) for window in windows]
        axes.plot([str(window) for window in windows], means, style, label=policy)
        axes.plot([str(r["window"]) for r in found], [r["value"] for r in found], ".", color=style[-2:], alpha=0.4)
    reference = fmean(r["value"] for r in records if r["window"] == long)
    axes.axhline(reference, color="C0", linestyle="--", label=f"truncated, T={long}")
    axes.set(xlabel="window T", ylabel="validation perplexity", title="Penn Treebank words, one epoch, LSTM 1x200")
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def main() -> None:
    """Run every condition and report."""
    made = parser(__doc__ or "")
    made.add_argument("--windows", type=int, nargs="+", default=[1, 5])
    made.add_argument("--long", type=int, default=20, help="the longer window that truncation is also given")
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw the table there, as PNG")
    made.add_argument("--out", type=Path, default=Path("benchmarks/out/quality"))
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    conditions = [("truncated", arguments.long)]
    conditions += [(policy, window) for window in arguments.windows for policy in arguments.policies]
    records: list[Record] = []
    for seed in arguments.seeds:
        for policy, window in conditions:
            name = f"words-{policy}-T{window}-seed{seed}" + ("-quick" if arguments.quick else "")
            overrides = [
                *POLICIES[policy],
                f"--policy.window={window}",
                "--policy.parallel=true",
                f"--training.seed={seed}",
            ]
            if arguments.quick:
                overrides += ["--training.max_updates=232"]
            record = record_of(run_condition(name, overrides, arguments.out, data_folder()), policy, window, seed)
            records.append(record)
            print(f"{name}: {record['value']:.2f} in {record['seconds']:.0f} s", flush=True)
    print_table(records)
    if arguments.figure is not None:
        plot(records, arguments.figure, arguments.long)
    write_records(records, arguments.json)


if __name__ == "__main__":
    main()
