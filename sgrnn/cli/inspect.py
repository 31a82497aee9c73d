"""``sgrnn evaluate``, ``sgrnn generate`` and ``sgrnn compare``: what can be asked of runs."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from sgrnn import generation
from sgrnn.cli.train import DataOption, RunArgument
from sgrnn.data import data_folder
from sgrnn.errors import InputError
from sgrnn.language_model import LanguageModel
from sgrnn.training.build import build_model
from sgrnn.training.checkpoints import Checkpoint, best_checkpoint
from sgrnn.training.curves import plot_curves
from sgrnn.training.fit import require_fit
from sgrnn.training.run import Run
from sgrnn.training.scoring import score_split
from sgrnn.training.text import encode_corpus, read_corpus


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
    checkpoint = _best_checkpoint(opened)
    files = encode_corpus(read_corpus(opened.recipe, data_folder(data)), opened.tokenizer, data_folder(data))
    require_fit(checkpoint, opened, files)
    score = score_split(_load_model(opened, checkpoint), files, split, batch_size)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"{opened.recipe.data.corpus} {split}: {score.tokens:,} tokens, {score.words:,} words,", end=" ")
    console.print(f"{score.characters:,} characters")
    console.print(f"{score.loss:.4f} nats per token, perplexity {score.perplexity:.2f} per token")
    console.print(f"{score.word_perplexity:.2f} per word, {score.bits_per_character:.4f} bits per character")


def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text that the model reads first.")] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="For the same text again.")] = None,
) -> None:
    """Text from a run's best checkpoint.

    Example: sgrnn generate runs/quickstart-1 --prompt "The " --length 300 --seed 1
    """
    opened = Run.open(run)
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError(f"the prompt must be UTF-8 text, got {prompt!r}") from None
    encoded = opened.tokenizer.encode_prompt(prompt)
    if encoded.unknown:
        print(f"not in the vocabulary, read as <unk>: {', '.join(encoded.unknown)}", file=sys.stderr)
    read = encoded.tokens.tolist()
    model = _load_model(opened, _best_checkpoint(opened))
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
    table = Table("run", "policy", title="best on the validation text", title_justify="left")
    for heading in ("loss", "perplexity", "per word", "bits/char", "epochs", "seconds", "R²", "gate"):
        table.add_column(heading, justify="right", no_wrap=True)
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
            f"{best['valid_loss']:.4f}",
            f"{best['valid_perplexity']:.2f}",
            f"{best['valid_word_perplexity']:.2f}",
            f"{best['valid_bits_per_character']:.3f}",
            f"{valid[-1]['epoch']:.3g}",
            f"{valid[-1]['seconds']:.0f}",
            f"{last['r2']:.3f}" if "r2" in last else "",
            f"{last['gate']:.3f}" if "gate" in last else "",
        )
    console = Console(markup=False)
    console.print(table)
    try:
        plot_curves(opened, output)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; name another file with --output") from None
    console.print(f"curves: {output}", soft_wrap=True)


def _best_checkpoint(run: Run) -> Checkpoint:
    checkpoint = best_checkpoint(run.checkpoints)
    if checkpoint is None:
        raise InputError(f"{run.folder} has no checkpoint yet: go on with `sgrnn resume {run.folder}`")
    return checkpoint


def _load_model(run: Run, checkpoint: Checkpoint) -> LanguageModel:
    model = build_model(run.recipe, run.tokenizer.vocabulary_size)
    checkpoint.load_model(model)
    return model
