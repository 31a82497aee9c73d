"""Export of runs and models: the best checkpoint's model in a folder of its own, with its evaluation."""

from collections.abc import Sequence
from os.path import expanduser  # which leaves what it does not know as it is
from pathlib import Path
from typing import Any

from torch import nn

from sgrnn.data import Tokenizer
from sgrnn.errors import InputError
from sgrnn.exports.writing import write
from sgrnn.training.best import best_record
from sgrnn.training.loading import load
from sgrnn.training.run import Run


def export(
    run_or_model: Run | nn.Module | Path | str,
    folder: Path | str,
    formats: str | Sequence[str] = "safetensors",
    *,
    tokenizer: Tokenizer | None = None,
) -> dict[str, float]:
    """Write a trained model to a new folder, for others to run: docs/export.md says what is in it.

    Args:
        run_or_model: a run or its folder, of which the best checkpoint's model is written; or a `LanguageModel` or
            `Readout` with a core of this package.
        folder: to be made; nothing but an empty folder may be there.
        formats: ``safetensors``, ``onnx``, ``torch``, or several of them. ONNX needs ``pip install 'sgrnn[export]'``.
        tokenizer: of a model that is no run's; None for a task.

    Returns:
        For each file with a graph, ``model.onnx`` and ``model.pt2``, the largest difference from the model when both
        run a few hundred steps.

    Raises:
        InputError: the folder exists or cannot be written, the run has no checkpoint or tokenizer, or the model cannot
            be exported. Nothing is left behind.
    """
    formats, folder = [formats] if isinstance(formats, str) else formats, Path(expanduser(folder))
    if isinstance(run_or_model, nn.Module):
        return write(run_or_model, folder, formats, tokenizer=tokenizer)
    run = run_or_model if isinstance(run_or_model, Run) else Run.open(Path(expanduser(run_or_model)))
    if tokenizer is not None:
        raise InputError(f"tokenizer must be None for a run, which has its own in {run.folder / 'tokenizer'}")
    model, _ = load(run)
    return write(model.cpu(), folder, formats, tokenizer=run.tokenizer, notes=_notes(run))


def _notes(run: Run) -> dict[str, Any]:
    """Return what config.json says of a run: what it learned, and the evaluation of its best checkpoint."""
    recipe, record = run.recipe, best_record(run) or {}
    if recipe.data:
        learned = recipe.data.model_dump(include={"corpus", "reset", "separator"})
    else:
        learned = {"task": recipe.task and recipe.task.model_dump()}
    figures = {name: value for name, value in record.items() if name == "update" or name.startswith("valid_")}
    return {**learned, "evaluation": figures}
