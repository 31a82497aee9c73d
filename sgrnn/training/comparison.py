"""Runs side by side: what is known of each at its best."""

from sgrnn.training.best import best_record
from sgrnn.training.run import Run

FORMS = {
    "loss": "{:.4f}",
    "perplexity": "{:.2f}",
    "per word": "{:.2f}",
    "bits/char": "{:.3f}",
    "accuracy": "{:.2%}",
    "length": "{:.0f}",
    "epochs": "{:.3g}",
    "seconds": "{:.0f}",
    "R²": "{:.3f}",
    "gate": "{:.3f}",
}
"""The columns of a table of runs, of which those are shown that some run has a figure for."""


def table_of(runs: list[Run]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, a row for each run: its name, its policy, and its figures, those that there are so far."""
    found = [_figures(run) for run in runs]
    shown = [heading for heading in FORMS if any(heading in row for row in found)]
    rows = [
        [run.name, policy_name(run), *(FORMS[name].format(row[name]) if name in row else "" for name in shown)]
        for run, row in zip(runs, found, strict=True)
    ]
    return ["run", "policy", *shown], rows


def without_evaluation(runs: list[Run]) -> list[str]:
    """Say of every run that has no evaluation what it is waiting for."""
    return [
        f"{run.folder} has no evaluation yet: the first is at the end of an epoch, or after training.evaluate_every "
        f"updates; if it was stopped, go on with `sgrnn resume {run.folder}`"
        for run in runs
        if not any("valid_loss" in record for record in run.records())
    ]


def policy_name(run: Run) -> str:
    """Kind and window."""
    policy = run.recipe.policy
    return f"{policy.kind} {policy.window}" if policy.kind != "full" else policy.kind


def _figures(run: Run) -> dict[str, float]:
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
        "accuracy": best.get("valid_accuracy"),
        "length": best.get("valid_length"),
        "epochs": latest.get("epoch"),
        "seconds": latest.get("seconds"),
        "R²": last.get("r2"),
        "gate": last.get("gate"),
    }
    return {heading: value for heading, value in found.items() if value is not None}
