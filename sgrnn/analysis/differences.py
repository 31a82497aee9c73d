"""Runs against truncated ones of the same problem and span: differences of their scores, and the spread over seeds."""

import json
from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple, final

from sgrnn.analysis.comparison import SCORES, best_test, estimator_name, headline, is_plain
from sgrnn.analysis.standing import standing_of
from sgrnn.config.changes import changes
from sgrnn.training.best import best_record
from sgrnn.training.run import Run

_HIGHER = ("accuracy", "length")  # is better
_WORDS = {"bits_per_character": "bits per character"}
_FORMS = {"length": "{:.1f}"}  # of means, where a single score has another
_OF_A_REPETITION = {
    "seed", "threads", "device", "loggers", "log_every", "evaluate_every", "diagnosis", "checkpoint_every"
}  # fmt: skip
"""Fields of the section training in which runs of one recipe may differ."""
_PLACES = {"train", "valid", "test"}
"""Fields of the section data that say where a text lies."""
_OF_AN_ESTIMATOR = ("gradient.", "synthesizer_optimizer.", "training.synthesizer_clip", "sample.")


class _Scores(NamedTuple):
    values: list[float]

    @property
    def error(self) -> float | None:
        return stdev(self.values) / sqrt(len(self.values)) if len(self.values) > 1 else None

    def text(self, form: str) -> str:
        spread = "" if self.error is None else f" ± {form.format(self.error)}"
        return form.format(mean(self.values)) + spread


@final
class _Group:
    """Runs of one recipe, their seeds aside."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.recipe = runs, runs[0].recipe
        self.name = f"{estimator_name(runs[0])} ({', '.join(run.name for run in runs)})"


def differences(runs: Sequence[Run]) -> list[str]:
    """Compare runs with the truncated ones beside them, a sentence for each pair of recipes that can be compared.

    Args:
        runs: of any recipes; those that differ in their seed alone are repetitions.

    Returns:
        Differences of the best scores on the validation split, and on the test split where all of a pair have one, with
        the standard error of the difference where both recipes have several runs.
    """
    groups = _groups(runs)
    truncated = [group for group in groups if is_plain(group.runs[0])]
    others = [group for group in groups if not is_plain(group.runs[0])]
    return [text for one in others for other in truncated if _alike(one, other) for text in _difference(one, other)]


def _groups(runs: Sequence[Run]) -> list[_Group]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        exclude: Any = {"sample": True, "training": _OF_A_REPETITION, "data": _PLACES}
        recipe = run.recipe.model_dump(mode="json", exclude=exclude)
        found.setdefault(json.dumps([recipe, _text(run)]), []).append(run)
    return [_Group(each) for each in found.values()]


def _text(run: Run) -> str:
    """Return what tells one text from another: its digests, or where it lies as long as it was not trained on."""
    return json.dumps(run.texts() or run.recipe.model_dump(mode="json", include={"data": _PLACES}))


def _alike(one: _Group, other: _Group) -> bool:
    """Return True where two recipes learn the same, by updates from as many steps."""
    texts = {_text(run) for group in (one, other) for run in group.runs}
    problems = [group.recipe.model_dump(include={"data": {"corpus"}, "task": True}) for group in (one, other)]
    return len(texts) == 1 and problems[0] == problems[1] and one.recipe.span == other.recipe.span


def _difference(one: _Group, other: _Group) -> Iterator[str]:
    runs = [*one.runs, *other.runs]
    name = headline(runs)
    parts = []
    for split, score_of in (("validation", _best_valid), ("test", best_test)):
        scores = [_collected(group.runs, name, score_of) for group in (one, other)]
        if all(scores):
            parts.append(_parted(split, name, *(_Scores(each) for each in scores if each is not None)))
    if not parts:
        return
    few = [len({run.recipe.training.seed for run in group.runs}) for group in (one, other)]
    spread = "" if min(few) > 1 else ("; with one seed each" if max(few) == 1 else "; with one seed of one of them")
    unlike = [
        field
        for field in changes(one.recipe, other.recipe)
        if not field.startswith(_OF_AN_ESTIMATOR)
        and field.removeprefix("training.") not in _OF_A_REPETITION
        and field.removeprefix("data.") not in _PLACES
    ]
    so_far = "" if all(standing_of(run).complete for run in runs) else ", so far"
    yield (
        f"{one.name} against {other.name}{so_far}: {', '.join(parts)}"
        + (f"{spread} the spread is not known" if spread else "")
        + (f"; they differ in {', '.join(unlike)} too" if unlike else "")
    )


def _parted(split: str, name: str, one: _Scores, other: _Scores) -> str:
    form = _FORMS.get(name, SCORES[name][1])
    gain = mean(one.values) - mean(other.values)
    same = form.format(abs(gain)) == form.format(0)
    apart = "the same" if same else form.format(abs(gain))
    verdict = ""
    if one.error is not None and other.error is not None:
        error = sqrt(one.error**2 + other.error**2)
        apart += f" ± {form.format(error)}"
        if error:  # else the seeds agree to the last digit, which tells nothing of other seeds
            better = "better" if (gain > 0) == (name in _HIGHER) else "worse"
            verdict = " (no more than chance)" if abs(gain) <= 2 * error else f" (more than chance: {better})"
    way = "" if same else " higher" if gain > 0 else " lower"
    return f"{split} {_WORDS.get(name, name)} {one.text(form)} against {other.text(form)}, {apart}{way}{verdict}"


def _collected(
    runs: Sequence[Run], name: str, score_of: Callable[[Run], dict[str, float] | None]
) -> list[float] | None:
    """Return the scores by one metric, a seed's mean over its runs; None where a run has none."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        score = score_of(run)
        if score is None or name not in score:
            return None
        by_seed.setdefault(run.recipe.training.seed, []).append(score[name])
    return [mean(each) for each in by_seed.values()]


def _best_valid(run: Run) -> dict[str, float] | None:
    best = best_record(run)
    prefix = "valid_"
    return best and {name.removeprefix(prefix): value for name, value in best.items() if name.startswith(prefix)}
