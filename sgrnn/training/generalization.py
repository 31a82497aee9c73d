"""The generalization gap: a run's best model on its train text, measured as on the validation text, beside that.

The loss of training itself is no measure of it: it is of masked, older and moving weights, and of spans whose state may
have been cut.
"""

from typing import Any

from sgrnn.config.build.optimizer import device_of_use
from sgrnn.models.evaluation import perplexity
from sgrnn.models.language_model import LanguageModel
from sgrnn.training.about import keep_score, read_scores
from sgrnn.training.best import best_record, open_trained
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run

TRAIN_PART = "train-part"
"""Name, among splits, of as much of the train text as the validation text has."""


def train_part_metrics(problem: TextProblem, model: LanguageModel) -> dict[str, float]:
    """Return a model's loss and perplexity per token on the end of the train text, as long as the validation text."""
    loss = problem.train_part_loss(model)
    return {"loss": loss, "perplexity": perplexity(loss)}


def best_train_part(run: Run) -> dict[str, Any] | None:
    """Return the score on the train part of a run's best checkpoint; None where none was kept.

    Raises:
        InputError: scores.json or the latest checkpoint is damaged.
    """
    score, best = read_scores(run).get(TRAIN_PART), best_record(run)
    return score if score is not None and best is not None and score["update"] == best["update"] else None


def log_train_part(run: Run, problem: TextProblem) -> dict[str, Any] | None:
    """Measure the best checkpoint of a run on its train part, and keep the score and a record of it in the run.

    Args:
        run: the run, at its end.
        problem: its text.

    Returns:
        The record, of the last update; None where it had been logged before, or there is no evaluation.

    Raises:
        InputError: there is no checkpoint, or a file cannot be written.
    """
    best, records = best_record(run), list(run.records())
    if best is None:
        return None
    logged = any(record.get("best_update") == best["update"] for record in records)  # perhaps before a kill
    if logged and best_train_part(run) is not None:
        return None
    trained = open_trained(run, problem)
    model = trained.model.to(device_of_use(run.recipe.training.device))
    assert isinstance(model, LanguageModel), "as a text's problem builds it"
    metrics = train_part_metrics(problem, model)
    update = trained.checkpoint.progress["update"]
    keep_score(run, TRAIN_PART, update, metrics)
    if logged:
        return None
    record = {name: records[-1][name] for name in ("update", "epoch", "seconds")}
    record |= {"best_update": update, **{f"train_part_{name}": value for name, value in metrics.items()}}
    run.log(record)
    return record
