"""Table of runs side by side, each by its best evaluation."""

from collections.abc import Sequence
from typing import Any

from sgrnn.config.feedback import SyntheticFeedbackConfig
from sgrnn.config.gradient import DecoupledConfig, TruncatedBPTTConfig
from sgrnn.training.about import read_scores
from sgrnn.training.best import best_record
from sgrnn.training.generalization import best_train_part
from sgrnn.training.run import Run

SCORES = {
    "loss": ("loss", "{:.4f}"),
    "perplexity": ("perplexity", "{:.2f}"),
    "word_perplexity": ("per word", "{:.2f}"),
    "bits_per_character": ("bits/char", "{:.3f}"),
    "bits_per_byte": ("bits/byte", "{:.3f}"),
    "unknown_share": ("<unk>", "{:.2%}"),
    "accuracy": ("accuracy", "{:.2%}"),
    "length": ("length", "{:.0f}"),
}
"""Heading and form of every metric of a score, by its name (`Problem.score`)."""

_ON_TRAIN = {"train_part_loss": ("train loss", "{:.4f}"), "gap": ("gap", "{:+.4f}")}
_TOLD = {"nothing": "DNI", "label": "cDNI", "error": "told the error"}
_NO_PART_OF_A_TASK = {"episodes_per_epoch", "vectors", "repeats", "by"}
"""Fields of the section task that say how it is learned: an epoch's length, where it begins, how images are read."""
_OF_TRAINING = {
    "epoch": ("epochs", "{:.3g}"),
    "seconds": ("seconds", "{:.0f}"),
    "target_r2": ("target R²", "{:.3f}"),
    "shrinkage": ("shrinkage", "{:.3f}"),
}


def table_of(runs: list[Run]) -> tuple[list[str], list[list[str]]]:
    """Make headings and a row for each run: its name, its estimator, and its metrics, those that there are so far."""
    tests = {f"test_{name}": (f"test {heading}", form) for name, (heading, form) in SCORES.items()}
    columns = SCORES | _ON_TRAIN | tests | _OF_TRAINING
    metrics = [_metrics(run) for run in runs]
    shown = [name for name in columns if any(name in row for row in metrics)]
    rows = [
        [run.name, estimator_name(run), *(columns[name][1].format(row[name]) if name in row else "" for name in shown)]
        for run, row in zip(runs, metrics, strict=True)
    ]
    return ["run", "estimator", *(columns[name][0] for name in shown)], rows


def cautions(runs: list[Run]) -> list[str]:
    """Return warnings of those metrics in the table that must not be compared between these runs."""
    texts = [run for run in runs if run.recipe.data is not None]
    tasks = [run.recipe.task.model_dump(exclude=_NO_PART_OF_A_TASK) for run in runs if run.recipe.task is not None]
    notes = []
    if 0 < len(texts) < len(runs) or len({task["kind"] for task in tasks}) > 1:
        notes.append("the runs have learned different things, a text or a task each: no number compares them")
    elif unlike := {f"task.{name}" for task in tasks for name, value in task.items() if value != tasks[0][name]}:
        notes.append(f"the tasks of the runs differ in {', '.join(sorted(unlike))}: no number compares them")
    digests = {run.texts().get("valid") for run in texts}
    if len(digests - {None}) > 1:
        notes.append("the validation texts of the runs differ: no number compares models on different texts")
    elif None in digests and len(texts) > 1:
        unknown = ", ".join(run.name for run in texts if "valid" not in run.texts())
        notes.append(
            f"whether the validation texts are the same is not known, since fingerprint.json is missing in {unknown}: "
            "`sgrnn resume` writes it, of a run that is complete too"
        )
    elif len({run.texts().get("test") for run in texts if best_test(run) is not None} - {None}) > 1:
        notes.append("the test texts of the runs differ: no score on them compares models on different texts")
    if len({run.tokenizer.digest for run in texts if run.tokenizer is not None}) > 1:
        notes.append(
            "loss and perplexity are per token, and the tokens of the runs differ: compare bits per character, in "
            "which every <unk> is charged for spelling what it stands for"
        )
    return notes


def headline(runs: Sequence[Run]) -> str:
    """Return the metric of a score by which runs are compared, such as "perplexity"."""
    if all(run.recipe.data is not None for run in runs):
        tokenizers = {(run.tokenizer.kind, run.tokenizer.digest) for run in runs if run.tokenizer is not None}
        characters = any(kind == "character" for kind, _ in tokenizers)
        return "bits_per_character" if characters or len(tokenizers) > 1 else "perplexity"
    best = [best_record(run) or {} for run in runs]
    return next((name for name in ("length", "accuracy") if all(f"valid_{name}" in each for each in best)), "loss")


def best_test(run: Run) -> dict[str, Any] | None:
    """Return the score on the test split of a run's best checkpoint; None where `sgrnn evaluate` has kept none."""
    score, best = read_scores(run).get("test"), best_record(run)
    return score if score is not None and best is not None and score["update"] == best["update"] else None


def adapted_tests(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """Return names and scores on the test split of a run's best checkpoint with dynamic evaluation or a cache."""
    best = best_record(run)
    return [
        (split, score)
        for split, score in read_scores(run).items()
        if split.startswith("test ") and best is not None and score["update"] == best["update"]
    ]


def without_evaluation(runs: list[Run]) -> list[str]:
    """Return a sentence for every run without an evaluation: when its first one is due."""
    return [
        f"{run.folder} has no evaluation yet: the first is at the end of an epoch, or after training.evaluate_every "
        "updates"
        for run in runs
        if not any("valid_loss" in record for record in run.records())
    ]


def estimator_name(run: Run) -> str:
    """Return the kind of a run's gradient estimator, with its window and every how many steps, or with its feedback."""
    gradient = run.recipe.gradient
    if isinstance(gradient, DecoupledConfig):
        feedback = gradient.feedback
        name = _TOLD[feedback.told] if isinstance(feedback, SyntheticFeedbackConfig) else feedback.kind
        return f"{gradient.kind}, {name}{' and unlocked' if gradient.synthetic_inputs else ''}"
    window, every = (getattr(gradient, name, None) for name in ("window", "every"))
    name = gradient.kind if window is None else f"{gradient.kind} {window}"
    return name if every is None else f"{name} every {every}"


def is_plain(run: Run) -> bool:
    """Return True where a run's gradients are those of plain truncation, in windows that do not overlap."""
    gradient = run.recipe.gradient
    return isinstance(gradient, TruncatedBPTTConfig) and gradient.every is None


def _metrics(run: Run) -> dict[str, float]:
    """Metrics of a run by name: its best score, and how far its training has come."""
    best = best_record(run) or {}
    records = list(run.records())
    latest = next((record for record in reversed(records) if "valid_loss" in record), records[-1] if records else {})
    metrics = {name: best.get(f"valid_{name}") for name in SCORES}
    if best and (part := best_train_part(run)) is not None:
        metrics |= {"train_part_loss": part["loss"], "gap": best["valid_loss"] - part["loss"]}
    metrics[f"test_{headline([run])}"] = (best_test(run) or {}).get(headline([run]))
    metrics |= {name: latest.get(name) for name in ("epoch", "seconds")}
    for name in ("target_r2", "shrinkage"):  # which a short line may lack
        metrics[name] = next((record[name] for record in reversed(records) if name in record), None)
    return {name: value for name, value in metrics.items() if value is not None}
