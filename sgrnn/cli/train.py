"""``sgrnn train`` and ``sgrnn resume``."""

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp
from pathlib import Path
from types import FrameType
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from sgrnn.data import TokenFiles, data_folder
from sgrnn.generation import generate
from sgrnn.training import loop
from sgrnn.training.build import build_stream, choose_device
from sgrnn.training.curves import plot_curves
from sgrnn.training.display import Display, TensorBoard
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.recipe_files import load_recipe
from sgrnn.training.run import Run, free_folder
from sgrnn.training.text import encode_corpus, make_tokenizer, read_corpus

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder; else $SGRNN_DATA, else ./data.")]
RunArgument = Annotated[Path, typer.Argument(help="The run's folder.")]


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or path of a .yaml file.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run; else runs/RECIPE-1, -2, ...")] = None,
    data: DataOption = None,
) -> None:
    """Train a language model from a recipe; every field can be overridden.

    Example: sgrnn train ptb-word-small --policy.kind=synthetic --policy.window=5 --run runs/mine
    """
    checked = load_recipe(recipe, context.args)
    choose_device(checked.training.device)
    corpus = read_corpus(checked, data_folder(data))
    tokenizer = make_tokenizer(checked, corpus)
    tokenizer.encode_prompt(checked.sample.prompt)
    files = encode_corpus(corpus, tokenizer, data_folder(data))
    build_stream(checked, files)
    # What can be refused has been by now, so that a refusal leaves no folder behind.
    _train(Run.create(run or free_folder(Path(recipe).stem), checked, tokenizer), files, data)


def resume(run: RunArgument, data: DataOption = None) -> None:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    Example: sgrnn resume runs/quickstart-1
    """
    opened = Run.open(run)
    files = encode_corpus(read_corpus(opened.recipe, data_folder(data)), opened.tokenizer, data_folder(data))
    _train(opened, files, data)


def _train(run: Run, files: TokenFiles, data: Path | None) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    keep_freed_memory()
    console.print(
        f"training {run.folder}: {run.recipe.data.corpus}, {files['train'].tokens:,} tokens, "
        f"vocabulary {files.vocabulary_size:,}, policy {run.recipe.policy.kind}"
    )
    with Display(run, console) as display, TensorBoard(run) as board, _stop_requested() as stop:

        def report(record: dict[str, float]) -> None:
            display(record)
            board(record)

        try:
            model = loop.train(run, files, report, stop)
        except loop.Interrupted:
            again = ["sgrnn", "resume", str(run.folder), *(["--data", str(data)] if data else [])]
            console.print(f"stopped and saved; go on with: {shlex.join(again)}")
            raise typer.Exit(130) from None
    with run.writing("curves.png") as path:
        plot_curves([run], path)
    sample = run.recipe.sample
    prompt = run.tokenizer.encode_prompt(sample.prompt).tokens.tolist()
    drawn = list(
        generate(
            model, [files.eos_id, *prompt], sample.length, temperature=sample.temperature,
            seed=run.recipe.training.seed,
        )
    )  # fmt: skip
    losses = [record["valid_loss"] for record in run.records() if "valid_loss" in record]
    console.rule("sample")
    console.print(run.tokenizer.decode(np.array(prompt + drawn, np.int32)))
    console.rule()
    if losses:
        console.print(f"validation perplexity {exp(min(losses)):.2f} (best of {len(losses)} evaluations)")
    console.print(f"the run lies in {run.folder}: metrics.jsonl, curves.png, tensorboard/, checkpoints/")
    console.print(f"next: {shlex.join(['sgrnn', 'generate', str(run.folder)])} --length 300")


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or a SIGTERM, into a request to stop after the current update."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
