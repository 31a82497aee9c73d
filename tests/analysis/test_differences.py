"""Runs against truncated ones: differences over seeds, and which runs are compared at all."""

from math import sqrt
from pathlib import Path
from statistics import stdev

from made_up import make_run

from sgrnn.analysis.differences import differences
from sgrnn.training.about import keep_score
from sgrnn.training.run import Run

_DONE = "--training.max_updates=4"


def scored(
    folder: Path, seed: int, value: float, *overrides: str, kind: str = "synthetic", metric: str = "accuracy"
) -> Run:
    """Make a run that was trained to its end and evaluated once."""
    best = {"update": 4, "epoch": 2.0, "seconds": 1.0, "valid_loss": 1.0, f"valid_{metric}": value}
    name = f"{kind}-{seed}-{len(overrides)}"
    return make_run(folder / name, [best], _DONE, f"--gradient.kind={kind}", f"--training.seed={seed}", *overrides)


def names(*runs: Run) -> str:
    return ", ".join(run.name for run in runs)


def test_several_seeds_give_the_difference_a_spread(tmp_path: Path) -> None:
    values = {"synthetic": [0.8, 0.9, 0.85], "truncated": [0.6, 0.7]}
    runs = {
        kind: [scored(tmp_path, seed, value, kind=kind) for seed, value in enumerate(each)]
        for kind, each in values.items()
    }
    errors = {kind: stdev(each) / sqrt(len(each)) for kind, each in values.items()}
    whole = sqrt(sum(error**2 for error in errors.values()))
    head = f"synthetic 2 ({names(*runs['synthetic'])}) against truncated 2 ({names(*runs['truncated'])}): "
    valid = (
        f"validation accuracy 85.00% ± {errors['synthetic']:.2%} against 65.00% ± {errors['truncated']:.2%}, "
        f"20.00% ± {whole:.2%} higher (more than chance: better)"
    )
    every = [*runs["truncated"], *runs["synthetic"]]
    assert differences(every) == [head + valid]
    for place, run in enumerate(every):
        assert differences(every) == [head + valid], "until all have a test score"
        keep_score(run, "test", 4, {"loss": 2.0, "accuracy": [0.5, 0.7, 0.5, 0.6, 0.7][place]})
    (text,) = differences(every)
    assert text.startswith(head + valid + ", test accuracy 60.00% ± 5.77% against 60.00% ± 10.00%, ")
    assert text.endswith(", the same ± 11.55% (no more than chance)")


def test_one_seed_gives_none_and_what_else_differs_is_named(tmp_path: Path) -> None:
    one, two = scored(tmp_path, 0, 0.5), scored(tmp_path, 1, 0.75)
    other = scored(tmp_path, 0, 0.625, "--model.hidden_size=5", "--training.log_every=7", kind="truncated")
    unlike = "; they differ in model.hidden_size too"
    assert differences([one, other]) == [
        f"synthetic 2 ({one.name}) against truncated 2 ({other.name}): validation accuracy 50.00% against 62.50%, "
        f"12.50% lower; with one seed each the spread is not known{unlike}"
    ]
    (text,) = differences([one, two, other])
    assert text.endswith(
        f" 62.50% ± 12.50% against 62.50%, the same; with one seed of one of them the spread is not known{unlike}"
    )


def test_lengths_have_a_decimal_where_they_are_means(tmp_path: Path) -> None:
    runs = [
        scored(tmp_path, seed, first + seed, kind=kind, metric="length")
        for kind, first in (("synthetic", 4), ("truncated", 3))
        for seed in (0, 1)
    ]
    (text,) = differences(runs)
    assert text.endswith("validation length 4.5 ± 0.5 against 3.5 ± 0.5, 1.0 ± 0.7 higher (no more than chance)")


def test_a_section_that_one_of_them_lacks_is_named(tmp_path: Path) -> None:
    one = scored(tmp_path, 0, 0.5)
    other = scored(tmp_path, 0, 0.625, "--average.kind=exponential", "--average.decay=0.9", kind="truncated")
    (text,) = differences([one, other])
    assert text.endswith("; they differ in average too")
    assert differences([scored(tmp_path, 0, 0.5, "--average.kind=triggered"), other])[0].endswith(
        "; they differ in average.kind too"
    )


def test_what_cannot_be_compared_is_not(tmp_path: Path) -> None:
    one = scored(tmp_path, 0, 0.5)
    for number, override in enumerate(("--task.bits=3", "--training.span=2", "--task.episodes_per_epoch=7")):
        other = scored(tmp_path / str(number), 0, 0.6, override, kind="truncated")
        assert differences([one, other]) == []
    new = make_run(tmp_path / "new", [], _DONE, "--gradient.kind=truncated")
    assert differences([one, new]) == []
    assert differences([one, scored(tmp_path, 1, 0.5)]) == [], "nothing truncated beside them"
    for run, digest in ((one, "sha256:1"), (other := scored(tmp_path, 2, 0.6, kind="truncated"), "sha256:2")):
        run.keep_fingerprint({"valid": digest}, {"time": "now"})
    assert differences([one, other]) == []


def test_runs_that_are_not_complete_are_compared_so_far(tmp_path: Path) -> None:
    longer = ("--training.epochs=3", "--training.max_updates=5")
    one, other = scored(tmp_path, 0, 0.5, *longer), scored(tmp_path, 0, 0.6, kind="truncated")
    (text,) = differences([one, other])
    assert f"({other.name}), so far: validation" in text
    assert text.endswith("; they differ in training.epochs, training.max_updates too")


def test_runs_of_one_seed_are_one_and_tell_no_spread(tmp_path: Path) -> None:
    """A copy of a run, or the same on another number of threads, is no second draw."""
    runs = [
        scored(tmp_path, 0, value, *overrides, kind=kind)
        for kind, value in (("synthetic", 0.5), ("truncated", 0.75))
        for overrides in ((), ("--training.threads=1",))
    ]
    (text,) = differences(runs)
    assert text.endswith(
        "validation accuracy 50.00% against 75.00%, 25.00% lower; with one seed each the spread is not known"
    )
    other = scored(tmp_path, 1, 0.6, kind="synthetic"), scored(tmp_path, 1, 0.7, kind="truncated")
    (text,) = differences([*runs, *other])
    values = (("synthetic", 0.5), ("truncated", 0.75))
    alike = [scored(tmp_path / "alike", seed, value, kind=kind) for kind, value in values for seed in (0, 1)]
    assert differences(alike)[0].endswith("50.00% ± 0.00% against 75.00% ± 0.00%, 25.00% ± 0.00% lower")
    assert " 55.00% ± 5.00% against 72.50% ± 2.50%, " in text, "the mean over seeds, and not over runs"
