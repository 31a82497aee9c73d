"""The best evaluation of a run: its record, the model in its checkpoint, and text drawn from that model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from sgrnn.config.build.model import build_model
from sgrnn.models.generation import generate
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.checkpoints import Checkpoint, best_update, require_best
from sgrnn.training.fit import require_fit
from sgrnn.training.problems.opening import problem_of
from sgrnn.training.problems.problem import Problem, selection_score
from sgrnn.training.run import Run


def best_record(run: Run) -> dict[str, Any] | None:
    """Return the evaluation of a run's best checkpoint, as it was logged; None before there is one.

    Where no checkpoint is left, the best evaluation that was logged.

    Raises:
        InputError: the latest checkpoint is damaged.
    """
    evaluations = [record for record in run.records() if "valid_loss" in record]
    if (update := best_update(run.checkpoints)) is not None:
        evaluations = [record for record in evaluations if record["update"] == update]
    return min(evaluations, key=lambda record: selection_score(record, "valid_"), default=None)


@final
@dataclass(frozen=True)
class Trained:
    """The model of a run's best checkpoint, with the problem that it was trained on.

    Args:
        run: the run.
        checkpoint: its best checkpoint.
        problem: what it learns, from the beginning.
        model: on the CPU.
    """

    run: Run
    checkpoint: Checkpoint
    problem: Problem
    model: SequenceModel


def open_trained(run: Run, folder: Path) -> Trained:
    """Open a run's best checkpoint.

    Args:
        run: the run.
        folder: the data folder.

    Raises:
        InputError: there is none, it is not that of the run, or a file of the problem is missing.
    """
    checkpoint = require_best(run.checkpoints)
    problem = problem_of(run, folder)
    require_fit(checkpoint, run, problem)
    model = problem.build_model()
    checkpoint.load_model(model)
    return Trained(run, checkpoint, problem, model)


def open_language_model(run: Run) -> LanguageModel:
    """Open the model of a run's best checkpoint without its text.

    Args:
        run: a run on a text.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    assert run.tokenizer is not None, "a run on a text"
    model = build_model(run.recipe, run.tokenizer.vocabulary_size)
    require_best(run.checkpoints).load_model(model)
    return model


def sample_text(model: LanguageModel, run: Run, prompt: str, length: int, temperature: float, seed: int | None) -> str:
    """Draw a text from a model of a run: the prompt, and so many tokens more.

    `sgrnn.models.generation` has the arguments. Where the run reset its state at every line, the text does too.

    Raises:
        InputError: the prompt cannot be encoded.
    """
    tokenizer, data = run.tokenizer, run.recipe.data
    assert tokenizer is not None, "a run on a text"
    assert data is not None, "a run on a text"
    reset_at = tokenizer.eos_id if data.reset == "line" else None
    read = tokenizer.encode_prompt(prompt).tokens.tolist()
    drawn = list(
        generate(model, [tokenizer.eos_id, *read], length, temperature=temperature, seed=seed, reset_at=reset_at)
    )
    return tokenizer.decode(np.array([*read, *drawn], np.int32))
