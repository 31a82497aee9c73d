"""Recipes for tasks: either a text or a task, and nothing that says nothing of it."""

import pytest

from sgrnn.config import Adding, Copy, Mnist, Recall, Recipe, RepeatCopy
from sgrnn.config.files import dump_recipe, parse_recipe
from sgrnn.errors import InputError

GOOD = """\
task: {kind: copy}
model: {hidden_size: 16}
gradient: {kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}
training: {epochs: 1}
"""


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as error:
        parse_recipe(text, "mine.yaml", None, overrides)
    return str(error.value).split("\n")


def good(*overrides: str) -> Recipe:
    return parse_recipe(GOOD, "mine.yaml", None, overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), Copy()),
        (("--task.bits=4", "--task.vectors=3", "--task.threshold=0.5"), Copy(bits=4, vectors=3, threshold=0.5)),
        (("--task.kind=repeat-copy", "--task.repeats=2"), RepeatCopy(repeats=2)),
        (("--task.kind=adding", "--task.lag=3", "--task.steps=9"), Adding(lag=3, steps=9)),
        (("--task.kind=recall", "--task.lag=3", "--task.episodes_per_epoch=7"), Recall(lag=3, episodes_per_epoch=7)),
        (("--task.kind=mnist", "--task.by=row"), Mnist(by="row")),
    ],
)
def test_every_kind_of_task_is_read_and_what_is_written_reads_back_equal(
    overrides: tuple[str, ...], expected: object
) -> None:
    recipe = good(*overrides)
    assert (recipe.task, recipe.data, recipe.span) == (expected, None, None)
    assert parse_recipe(dump_recipe(recipe), "written") == recipe


def test_a_span_left_out_is_20_steps_of_a_text_and_an_episode_of_a_task() -> None:
    assert good().span is None
    assert good("--training.span=3").span == 3
    text = GOOD.replace("task: {kind: copy}", "data: {corpus: python-docs}")
    assert parse_recipe(text, "text").span == 20
    assert parse_recipe(text, "text", None, ["--training.span=7"]).span == 7


def test_exactly_one_of_text_and_task_is_to_be_learned() -> None:
    message = "task: a recipe learns either a text (data) or a task (task), got"
    assert mistakes(GOOD.replace("task: {kind: copy}\n", "")) == [f"mine.yaml: {message} neither"]
    assert mistakes(GOOD + "data: {corpus: python-docs}") == [f"mine.yaml:1: {message} both"]
    assert mistakes(GOOD, "--data.corpus=python-docs") == [f"mine.yaml:1: {message} both"]


def test_a_task_is_missed_beside_other_mistakes_and_not_where_the_text_is_wrong() -> None:
    lines = mistakes(GOOD.replace("task: {kind: copy}\n", "").replace("16", "0"))
    assert [line.split(" ")[1] for line in lines] == ["task:", "model.hidden_size"]
    (line,) = mistakes(GOOD.replace("task: {kind: copy}", "data: {corpus: ptbb}"))
    assert line.startswith("mine.yaml:1: data.corpus must be ")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--task.kind=coppy", "task.kind must be one of copy, repeat-copy, adding, recall, mnist, got 'coppy'"),
        ("--task.bitz=3", "task.bitz is not a field; did you mean task.bits?"),
        ("--task.bits=0", "task.bits must be greater than 0, got 0"),
        ("--task.threshold=0", "task.threshold must be greater than 0, got 0"),
        ("--task={kind: recall}", "task.lag is missing"),
        ("--task={kind: recall, lag: 3, tokens: 1}", "task.tokens must be greater than or equal to 2, got 1"),
        ("--task={kind: adding, lag: 3, steps: 3}", "task: steps must be more than the lag, 3, got 3"),
        ("--task={kind: mnist, episodes_per_epoch: 3}", "task.episodes_per_epoch is not a field"),
        ("--task={kind: mnist, by: column}", "task.by must be 'pixel' or 'row', got 'column'"),
    ],
)
def test_a_wrong_task_is_refused_with_its_field(override: str, expected: str) -> None:
    text = GOOD if not override.startswith("--task=") else GOOD.replace("{kind: copy}", override[len("--task=") :])
    (line,) = mistakes(text, *[override] * (text == GOOD))
    assert line.startswith(("command line: " if text == GOOD else "mine.yaml:1: ") + expected)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("--model.embedding_size=8", "model.embedding_size"),
        ("--model.tied=true", "model.tied"),
        ("--model.dropout=0.5", "model.dropout"),
        ("--gradient.synthesizer.own_embedding=4", "gradient.synthesizer.own_embedding"),
        ("--training.precision=bfloat16", "training.precision"),
        ("--sample.length=3", "sample"),
    ],
)
def test_what_says_nothing_of_a_task_is_refused_when_it_is_set(override: str, field: str) -> None:
    assert mistakes(GOOD, override) == [
        f"command line: {field} is for a text, and says nothing of a task: remove it"
    ]  # fmt: skip


def test_windows_are_compared_with_a_span_where_there_is_one() -> None:
    grounding, turns = "--gradient.grounding={every: 2, window: 30}", "--gradient.source={kind: constant, share: 0.5}"
    good(grounding, turns, "--gradient.real_window=25")
    lines = mistakes(GOOD, grounding, turns, "--gradient.real_window=25", "--training.span=20")
    assert [line.split(" must ")[1] for line in lines] == [
        "be at most training.span, 20, got 25", "be at most training.span, 20, got 30"
    ]  # fmt: skip
