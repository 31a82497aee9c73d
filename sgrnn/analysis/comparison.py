"""Runs side by side: what is known of each at its best."""

from sgrnn.training.best import best_record
from sgrnn.training.run import Run

FORMS = {
    "loss": "{:.4f}",
    "perplexity": "{:.2f}",
    "per word": "{:.2f}",
    "bits/char": "{:.3f}",
    "bits/byte": "{:.3f}",
    "<unk>": "{:.2%}",
    "accuracy": "{:.2%}",
    "length": "{:.0f}",
    "epochs": "{:.3g}",
    "seconds": "{:.0f}",
    "target R²": "{:.3f}",
    "shrinkage": "{:.3f}",
}
"""The columns of a table of runs, of which those are shown that some run has a figure for."""


def table_of(runs: list[Run]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, a row for each run: its name, its estimator, and its figures, those that there are so far."""
    found = [_metrics(run) for run in runs]
    shown = [heading for heading in FORMS if any(heading in row for row in found)]
    rows = [
        [run.name, estimator_name(run), *(FORMS[name].format(row[name]) if name in row else "" for name in shown)]
        for run, row in zip(runs, found, strict=True)
    ]
    return ["run", "estimator", *shown], rows


def cautions(runs: list[Run]) -> list[str]:
    """Say what of the table's figures is not to be compared between these runs."""
    texts = [run for run in runs if run.recipe.data is not None]
    found = []
    if 0 < len(texts) < len(runs) or len({run.recipe.task.kind for run in runs if run.recipe.task is not None}) > 1:
        found.append("the runs have learned different things, a text or a task each: no figure compares them")
    digests = {run.texts().get("valid") for run in texts}
    if len(digests - {None}) > 1:
        found.append("the validation texts of the runs differ: no figure compares models on different texts")
    elif None in digests and len(texts) > 1:
        unknown = ", ".join(run.name for run in texts if "valid" not in run.texts())
        found.append(
            f"whether the validation texts are the same is not known, since an earlier version ran {unknown}: "
            "`sgrnn resume` notes it, of a run that is complete too"
        )
    if len({run.tokenizer.digest for run in texts if run.tokenizer is not None}) > 1:
        found.append(
            "loss and perplexity are per token, and the tokens of the runs differ: compare bits per character, in "
            "which every <unk> is charged for spelling what it stands for"
        )
    free = [run.name for run in texts if (best := best_record(run)) is not None and "valid_unknown_share" not in best]
    if free:
        found.append(
            f"an earlier version evaluated {', '.join(free)}, and counted <unk> as if it said the word: "
            "`sgrnn evaluate` has the figures that can be compared"
        )
    return found


def without_evaluation(runs: list[Run]) -> list[str]:
    """Say of every run that has no evaluation what it is waiting for."""
    return [
        f"{run.folder} has no evaluation yet: the first is at the end of an epoch, or after training.evaluate_every "
        f"updates; if it was stopped, go on with `sgrnn resume {run.folder}`"
        for run in runs
        if not any("valid_loss" in record for record in run.records())
    ]


def estimator_name(run: Run) -> str:
    """Return the kind of a run's gradient estimator, and its window if it has one."""
    gradient = run.recipe.gradient
    window = getattr(gradient, "window", None)
    return gradient.kind if window is None else f"{gradient.kind} {window}"


def _metrics(run: Run) -> dict[str, float]:
    """What is known of a run, by heading."""
    best = best_record(run) or {}
    records = list(run.records())
    latest = next((record for record in reversed(records) if "valid_loss" in record), records[-1] if records else {})
    last = next((record for record in reversed(records) if "loss" in record), {})
    found = {
        "loss": best.get("valid_loss"),
        "perplexity": best.get("valid_perplexity"),
        "per word": best.get("valid_word_perplexity"),
        "bits/char": best.get("valid_bits_per_character"),
        "bits/byte": best.get("valid_bits_per_byte"),
        "<unk>": best.get("valid_unknown_share"),
        "accuracy": best.get("valid_accuracy"),
        "length": best.get("valid_length"),
        "epochs": latest.get("epoch"),
        "seconds": latest.get("seconds"),
        "target R²": last.get("target_r2"),
        "shrinkage": last.get("shrinkage"),
    }
    return {heading: value for heading, value in found.items() if value is not None}
