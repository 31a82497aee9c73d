"""``sgrnn evaluate``, ``sgrnn generate`` and ``sgrnn compare``: what can be asked of runs."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from sgrnn import generation
from sgrnn.cli.train import DataOption, RunArgument
from sgrnn.data import data_folder, prepare
from sgrnn.errors import InputError
from sgrnn.language_model import LanguageModel
from sgrnn.training.build import build_model
from sgrnn.training.checkpoints import best_checkpoint
from sgrnn.training.curves import plot_curves
from sgrnn.training.loop import score_split
from sgrnn.training.run import Run
from sgrnn.training.text import read_corpus


def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows side by side; the result does not depend on it.")] = 20,
    data: DataOption = None,
) -> None:
    """Perplexity and bits per character of a run's best checkpoint, every token of a split counted once.

    Example: sgrnn evaluate runs/ptb-word-small-1 --split test
    """
    opened = Run.open(run)
    files = prepare(read_corpus(opened.recipe, data_folder(data)), opened.tokenizer, data_folder(data))
    score = score_split(_best_model(opened), files, split, batch_size)
    console = Console()
    console.print(f"{opened.recipe.data.corpus} {split}: {score.tokens:,} tokens, {score.words:,} words,", end=" ")
    console.print(f"{score.characters:,} characters")
    console.print(f"{score.loss:.4f} nats per token, perplexity {score.perplexity:.2f} per token")
    console.print(f"{score.word_perplexity:.2f} per word, {score.bits_per_character:.4f} bits per character")


def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text that the model reads first.")] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    seed: Annotated[int | None, typer.Option(help="For the same text again.")] = None,
) -> None:
    """Text from a run's best checkpoint.

    Example: sgrnn generate runs/quickstart-1 --prompt "The " --length 300 --seed 1
    """
    opened = Run.open(run)
    encoded = opened.tokenizer.encode_prompt(prompt)
    if encoded.unknown:
        print(f"not in the vocabulary, read as <unk>: {', '.join(encoded.unknown)}")
    read = encoded.tokens.tolist()
    model = _best_model(opened)
    drawn = generation.generate(model, [opened.tokenizer.eos_id, *read], length, temperature=temperature, seed=seed)
    print(opened.tokenizer.decode(np.array([*read, *drawn], np.int32)))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The folders of two or more runs.")],
    output: Annotated[Path, typer.Option(help="Where the overlaid curves go.")] = Path("compare.png"),
) -> None:
    """A table of runs and their learning curves over each other.

    Example: sgrnn compare runs/truncated runs/synthetic --output compare.png
    """
    opened = [Run.open(folder) for folder in runs]
    table = Table("run", "policy", "epochs", "best validation loss", "perplexity", "seconds", "R²", "gate")
    for run in opened:
        records = list(run.records())
        valid = [record for record in records if "valid_loss" in record]
        if not valid:
            raise InputError(f"{run.folder} was never evaluated: go on with `sgrnn resume {run.folder}`")
        best = min(valid, key=lambda record: record["valid_loss"])
        last = next((record for record in reversed(records) if "loss" in record), {})
        policy = run.recipe.policy
        table.add_row(
            run.name,
            f"{policy.kind} {policy.window}" if policy.kind != "full" else policy.kind,
            f"{valid[-1]['epoch']:.3g}",
            f"{best['valid_loss']:.4f}",
            f"{best['valid_perplexity']:.2f}",
            f"{valid[-1]['seconds']:.0f}",
            f"{last['r2']:.3f}" if "r2" in last else "",
            f"{last['gate']:.3f}" if "gate" in last else "",
        )
    console = Console()
    console.print(table)
    plot_curves(opened, output)
    console.print(f"curves: {output}")


def _best_model(run: Run) -> LanguageModel:
    checkpoint = best_checkpoint(run.checkpoints)
    if checkpoint is None:
        raise InputError(f"{run.folder} has no checkpoint yet: go on with `sgrnn resume {run.folder}`")
    model = build_model(run.recipe, run.tokenizer.vocabulary_size)
    checkpoint.load_model(model)
    return model
