"""Opening of a run's model and tokenizer by its folder alone: neither the corpus nor another file is needed."""

from os.path import expanduser  # which leaves what it does not know as it is
from pathlib import Path
from typing import Any

import numpy as np

from sgrnn.config.build.model import build_model, build_readout, reset_at
from sgrnn.config.build.optimizer import device_of_use
from sgrnn.config.build.problem import build_task
from sgrnn.exports.reading import CONFIG, read
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.checkpoints import latest_checkpoint, read_whole, require_best
from sgrnn.training.run import Run

_NO_DIGITS = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)  # in the place of MNIST, whose sizes are enough


def load(run: str | Path | Run, *, latest: bool = False) -> tuple[Any, Any]:
    """Load the model and the tokenizer of a run, which need no more than its folder.

    Args:
        run: the run, or its folder; or a folder that a model was exported to.
        latest: of a run, take the checkpoint of the last update, in the place of the one with the best evaluation.

    Returns:
        The `LanguageModel` and its `Tokenizer`. A run on a task has no tokenizer: its `Readout`, and None. The model is
        in evaluation mode (call `model.train()` to train it further), and on the device that the recipe's
        `training.device` names, or the CPU where this machine lacks it, wherever it was trained.

    Raises:
        InputError: there is no run, no checkpoint and no exported model, or a file is damaged.
    """
    if isinstance(run, Run):
        opened = run
    else:
        folder = Path(expanduser(run))
        if (folder / CONFIG).is_file():
            model, tokenizer = read(folder)
            return model.to(device_of_use("auto")).eval(), tokenizer
        opened = Run.open(folder)
    model = build_untrained(opened)

    def read_parameters() -> None:
        checkpoint = require_best(opened.checkpoints)
        if latest:
            checkpoint = latest_checkpoint(opened.checkpoints) or checkpoint
        checkpoint.load_model(model)

    read_whole(opened.checkpoints, read_parameters)
    return model.to(device_of_use(opened.recipe.training.device)).eval(), opened.tokenizer


def build_untrained(run: Run) -> SequenceModel:
    """Build the model of a run, its parameters drawn anew."""
    if run.tokenizer is not None:
        model = build_model(run.recipe, run.tokenizer.vocabulary_size)
        model.reset_at = reset_at(run.recipe, run.tokenizer.eos_id)
        return model
    assert run.recipe.task is not None, "else it has a tokenizer"
    digits = _NO_DIGITS if run.recipe.task.kind == "mnist" else None
    return build_readout(run.recipe, build_task(run.recipe, batch_size=1, seed=0, digits=digits))
