"""Recipes from files and from the command line: overrides, YAML 1.2, and what is written reads back equal."""

from itertools import product
from pathlib import Path

import pytest
from recipe_texts import TEXT, mistakes, task_recipe, text_recipe

from sgrnn.config.changes import refusals
from sgrnn.config.data import TokenizerConfig
from sgrnn.config.files import dump_recipe, find_recipe, load_recipe, parse_recipe, shipped_recipes
from sgrnn.config.gradient import BPTTConfig, SyntheticGradientsConfig, TruncatedBPTTConfig
from sgrnn.config.optimization import AdamConfig, CosineConfig, ExponentialAverageConfig, StepDecayConfig
from sgrnn.config.synthesizers import ErrorSynthesizerConfig, MLPSynthesizerConfig
from sgrnn.config.tasks import AddingConfig, CopyConfig, MnistConfig, RecallConfig, RepeatCopyConfig
from sgrnn.data.kinds import OPTIONS, SUBWORD_KINDS, TOKENIZER_KINDS
from sgrnn.errors import InputError

MAPPING = "mine.yaml: a recipe is a mapping of sections such as data, model, gradient; got "


NO_MAPPINGS = [
    ("# only a comment\n", MAPPING + "nothing"),
    ("- data\n", MAPPING),
    (TEXT + "model: {hidden_size: 3}\n", 'mine.yaml:6: not valid YAML: found duplicate key "model"'),
    ("data: {corpus: [}\n", "mine.yaml:1: not valid YAML: "),
    ("data:\n\tcorpus: ptb\n", "mine.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
    ("data: \x00\n", "mine.yaml: not valid YAML: unacceptable character #x0000"),
    (TEXT + "---\n" + TEXT, "mine.yaml:6: not valid YAML: "),
    ("data: &a {corpus: ptb, <<: *a}\n", "mine.yaml: not valid YAML: "),
]


def test_what_is_no_yaml_mapping_is_refused_with_its_line() -> None:
    for text, expected in NO_MAPPINGS:
        assert mistakes(text)[0].startswith(expected), text


def test_numbers_and_words_are_read_as_in_yaml_1_2() -> None:
    recipe = text_recipe("--sample.prompt=yes", "--optimizer.learning_rate=3e-4", "--training.clip=1E1")
    assert isinstance(recipe.optimizer.learning_rate, float)
    assert (recipe.optimizer.learning_rate, recipe.training.clip, recipe.sample.prompt) == (3e-4, 10.0, "yes")
    (line,) = mistakes(TEXT + "sample: {prompt: 3e-4}")
    assert "sample.prompt must be a valid string, got 0.0003" in line, "a number, not text"


TEXTS = [
    "The # sign", "#v.txt", "1984", "3e-4", "true", "null", "", " ", "a: b", "- a", "[", "'", '"quoted"', "it's",
    "*star", "!bang", "|", "---", "...", "tab\there", "two\nlines\n", "12:30:00", "<<", "?", "  two ", "\\n",
    "é 中文", "\x07 bell", "\u2028", "next\x85line", "a " * 200,
    "words\tand tabs " * 20, *("x" * length + "  two blanks" * 20 for length in range(12)),
]  # fmt: skip


def test_a_field_that_takes_a_text_gets_what_is_written_and_keeps_it_in_the_runs_folder() -> None:
    field = "--sample.prompt"
    for number, text in enumerate(TEXTS):
        recipe = text_recipe(*([f"{field}={text}"] if number % 2 else [field, text]))
        assert recipe.sample.prompt == text
        assert parse_recipe(dump_recipe(recipe), "kept").sample.prompt == text


def test_a_path_on_the_command_line_is_what_is_written_or_nothing() -> None:
    for name in ("#v.txt", "1984", "a # b.txt", "true", "[a].txt"):
        data = text_recipe("--data.corpus=text", f"--data.train={name}", f"--data.test={name}").data
        assert data is not None
        assert (data.train, data.test, data.valid) == (Path.cwd() / name, Path.cwd() / name, None)
    text = TEXT.replace("python-docs", "text, train: a.txt, test: b.txt")
    for nothing in ("null", "~", ""):
        data = parse_recipe(text, "mine.yaml", None, [f"--data.test={nothing}"]).data
        assert data is not None
        assert data.test is None


def test_anchors_and_merges_work_and_their_mistakes_have_a_line() -> None:
    text = TEXT.replace("{kind: sgd", "&slow {kind: sgd") + "synthesizer_optimizer:\n  <<: *slow\n  momentum: 0.5\n"
    recipe = parse_recipe(text, "mine.yaml")
    assert recipe.synthesizer_optimizer.model_dump() == recipe.optimizer.model_dump() | {"momentum": 0.5}
    assert [line.split(" must")[0] for line in mistakes(text.replace("3e-4", "-1"))] == [
        "mine.yaml:4: optimizer.learning_rate",
        "mine.yaml:6: synthesizer_optimizer.learning_rate",
    ]


def test_overrides_replace_values_in_either_spelling() -> None:
    assert text_recipe("--gradient.window=7", "--training.span", "30").gradient == (
        text_recipe("--gradient.window", "7").gradient
    )
    wide = "--gradient.synthesizer.hidden_sizes=[8, 4]"
    recipe = text_recipe(wide, "--training.clip=null", "--model.tied=true", "--sample.prompt=a b")
    assert isinstance(recipe.gradient, SyntheticGradientsConfig)
    assert recipe.gradient.synthesizer == MLPSynthesizerConfig(lookahead=2, hidden_sizes=(8, 4))
    assert (recipe.training.clip, recipe.model.tied, recipe.sample.prompt) == (None, True, "a b")
    data = text_recipe("--data.tokenizer.kind=character").data
    assert data is not None
    assert data.tokenizer is not None
    assert data.tokenizer.kind == "character"
    last = text_recipe("--gradient.window=1", "--gradient.window=2")
    assert last.gradient == text_recipe("--gradient.window=2").gradient


BPTT = TEXT.replace("{kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}", "{kind: bptt}")


def test_another_kind_drops_the_fields_it_lacks_and_keeps_the_others_in_any_order() -> None:
    assert text_recipe("--gradient.kind=truncated").gradient == TruncatedBPTTConfig(window=5)
    assert text_recipe("--gradient.kind=bptt").gradient == BPTTConfig()
    kind, window = "--gradient.kind=truncated", "--gradient.window=9"
    for overrides in ((kind, window), (window, kind)):
        assert parse_recipe(BPTT, "mine.yaml", None, overrides).gradient == TruncatedBPTTConfig(window=9)
    assert mistakes(BPTT, kind) == ["mine.yaml:3: gradient.window is missing"]
    for name, value in (("discount", "=0.9"), ("synthesizer", ".lookahead=3")):
        (line,) = mistakes(TEXT, f"--gradient.{name}{value}", kind)
        assert line.startswith(f"command line: gradient.{name} is not a field"), "what was asked for is not dropped"
    assert text_recipe("--optimizer.kind=adam").optimizer == AdamConfig(learning_rate=3e-4)
    assert text_recipe("--gradient.kind=synthetic").gradient == text_recipe().gradient, "the same kind drops nothing"
    assert text_recipe("--schedule.kind=cosine", "--schedule.floor=0.1").schedule == CosineConfig(floor=0.1)


def test_another_kind_of_a_section_within_a_section_does_the_same() -> None:
    def synthesizer(*overrides: str) -> object:
        text = TEXT.replace("lookahead: 2", "lookahead: 2, projection: 7, hidden_sizes: [8]")
        gradient = parse_recipe(text, "mine.yaml", None, overrides).gradient
        assert isinstance(gradient, SyntheticGradientsConfig)
        assert gradient.window == 5
        return gradient.synthesizer

    rank = "--gradient.synthesizer.rank=4"
    assert synthesizer() == MLPSynthesizerConfig(lookahead=2, projection=7, hidden_sizes=(8,))
    assert synthesizer("--gradient.synthesizer.kind=mlp") == synthesizer(), "the same kind drops nothing"
    for overrides in ((rank, "--gradient.synthesizer.kind=error"), ("--gradient.synthesizer.kind=error", rank)):
        assert synthesizer(*overrides) == ErrorSynthesizerConfig(lookahead=2, projection=7, rank=4)
    (line,) = mistakes(TEXT, "--gradient.synthesizer.auxiliary=true", "--gradient.synthesizer.kind=error")
    assert line.startswith("command line: gradient.synthesizer.auxiliary is not a field")
    overrides = ["--gradient.synthesizer.kind=mlp", "--gradient.kind=synthetic", "--gradient.window=3"]
    expected = SyntheticGradientsConfig(window=3, synthesizer=MLPSynthesizerConfig())
    assert parse_recipe(BPTT, "mine.yaml", None, overrides).gradient == expected, "a kind before the kinds within"


def test_another_kind_of_tokenizer_drops_the_options_that_it_does_not_take() -> None:
    options = {"vocabulary_size": 2000, "min_count": 3}
    for before, after in product(TOKENIZER_KINDS, TOKENIZER_KINDS):
        given = {name: options[name] for name in OPTIONS[before]}
        recipe = parse_recipe(TEXT, "mine.yaml", None, {"data": {"tokenizer": {"kind": before, **given}}})
        assert recipe.data is not None
        kept = {name: value for name, value in given.items() if name in OPTIONS[after]}
        if after in SUBWORD_KINDS and not kept:
            with pytest.raises(InputError, match=rf"data\.tokenizer: {after} needs vocabulary_size"):
                load_recipe(recipe, [f"--data.tokenizer.kind={after}"])
            continue
        now = load_recipe(recipe, [f"--data.tokenizer.kind={after}"]).data
        assert now is not None
        assert now.tokenizer == TokenizerConfig.model_validate({"kind": after, **kept})


def test_a_field_of_a_section_that_the_recipe_leaves_out_belongs_to_its_default_kind() -> None:
    plain = TEXT.replace(", synthesizer: {kind: mlp, lookahead: 2}", "")
    for overrides, expected in (
        ((), ErrorSynthesizerConfig()),
        (("--gradient.synthesizer.lookahead=3",), ErrorSynthesizerConfig(lookahead=3)),
        (("--gradient.synthesizer.lookahead=0", "--gradient.synthesizer.kind=mlp"), MLPSynthesizerConfig(lookahead=0)),
    ):
        gradient = parse_recipe(plain, "mine.yaml", None, overrides).gradient
        assert gradient == SyntheticGradientsConfig(window=5, synthesizer=expected)
    recipe = text_recipe("--synthesizer_optimizer.learning_rate=0.5")
    assert recipe.synthesizer_optimizer == AdamConfig(learning_rate=0.5)
    assert text_recipe("--schedule.kind=step", "--schedule.after=3").schedule == StepDecayConfig(after=3)


def test_a_recipe_is_found_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(TEXT)
    (tmp_path / "plain").write_text(TEXT)
    (tmp_path / "quickstart").mkdir()  # a folder of that name does not hide the recipe
    assert load_recipe("mine.yaml") == load_recipe(str(tmp_path / "plain")) == text_recipe()
    assert find_recipe("quickstart") == (shipped_recipes()["quickstart"], None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quikstart", "there is no recipe named 'quikstart'; did you mean quickstart?; expected one of "),
        ("missing.yaml", "cannot read the recipe missing.yaml: [Errno 2] No such file"),
        ("latin.yaml", "cannot read the recipe latin.yaml: 'utf-8' codec can't decode byte 0xe9"),
        ("--gradient.window=5", "name the recipe first, then its overrides: got --gradient.window=5 in its place"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(TEXT.encode() + "# é".encode("latin-1"))
    with pytest.raises(InputError) as error:
        load_recipe(name)
    assert str(error.value).startswith(expected)


def test_paths_of_texts_are_relative_to_the_recipe_and_of_overrides_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (there / "mine.yaml").write_text(TEXT.replace("python-docs", "text, train: book.txt, test: /abs/test.txt"))
    monkeypatch.chdir(here)
    data = load_recipe("../there/mine.yaml", ["--data.valid=valid.txt"]).data
    assert data is not None
    assert (data.train, data.valid, data.test) == (there / "book.txt", here / "valid.txt", Path("/abs/test.txt"))


def test_a_path_that_leads_nowhere_is_refused_with_its_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^data\.train must be the path of a file, got 'a\\x00b'"):
        parse_recipe(TEXT.replace("python-docs", 'text, train: "a\\0b"'), "mine.yaml", tmp_path)


def test_a_section_that_may_be_null_is_begun_and_left_out_by_overrides() -> None:
    written = dump_recipe(text_recipe())  # with all that is null
    overrides = ("--average.kind=exponential", "--average.decay=0.9", "--training.diagnosis.every=4")
    recipe = parse_recipe(written, "mine.yaml", None, overrides)
    assert recipe.average == ExponentialAverageConfig(decay=0.9)
    assert recipe.training.diagnosis is not None
    assert recipe.training.diagnosis.every == 4
    again = parse_recipe(dump_recipe(recipe), "mine.yaml", None, ("--average=null", "--training.diagnosis=null"))
    assert again == text_recipe()
    with pytest.raises(InputError, match=r"^command line: expected an override like --gradient\.window=5, got '--gra"):
        parse_recipe(written, "mine.yaml", None, ("--gradient=null",))


@pytest.mark.parametrize(
    "overrides",
    [
        ("--gradient.kind=bptt", "--sample.prompt='é: #\"\\n'", "--training.clip=null"),
        ("--gradient.kind=truncated", "--data.tokenizer.kind=character"),
        ("--gradient.source.kind=restarts", "--schedule.kind=restarts", "--schedule.period=0.5"),
        ("--gradient.source={kind: ramp, stop: 3}", "--gradient.ground_every=3", "--gradient.ground_window=6"),
        ("--gradient.synthesizer.hidden_sizes=[]", "--training.diagnosis={every: 3}"),
        (
            "--gradient.kind=bp_lambda",
            "--gradient.learning_rate=0.1",
            "--model.slower_levels=[{period: 2, hidden_size: 3}]",
        ),
    ],
)
def test_what_is_written_reads_back_equal(overrides: tuple[str, ...]) -> None:
    recipe = text_recipe(*overrides)
    again = parse_recipe(dump_recipe(recipe), "written")
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)


TASKS = [
    (("--task.bits=4", "--task.vectors=3", "--task.threshold=0.5"), CopyConfig(bits=4, vectors=3, threshold=0.5)),
    (("--task.kind=repeat-copy", "--task.repeats=2"), RepeatCopyConfig(repeats=2)),
    (("--task.kind=adding", "--task.lag=3", "--task.steps=9"), AddingConfig(lag=3, steps=9)),
    (
        ("--task.kind=recall", "--task.lag=3", "--task.episodes_per_epoch=7"),
        RecallConfig(lag=3, episodes_per_epoch=7),
    ),
    (("--task.kind=mnist", "--task.by=row"), MnistConfig(by="row")),
]


def test_every_kind_of_task_is_read_and_what_is_written_reads_back_equal() -> None:
    for overrides, expected in TASKS:
        recipe = task_recipe(*overrides)
        assert (recipe.task, recipe.data, recipe.span) == (expected, None, None)
        assert parse_recipe(dump_recipe(recipe), "written") == recipe


def test_a_span_left_out_is_20_steps_of_a_text_and_an_episode_of_a_task() -> None:
    assert [read().span for read in (text_recipe, task_recipe)] == [20, None]
    assert [read("--training.span=3").span for read in (text_recipe, task_recipe)] == [3, 3]


def test_a_section_given_without_fields_from_python_is_there_and_keeps_those_it_has() -> None:
    recipe = load_recipe("quickstart", {"training": {"varying_span": {}}, "model": {}})
    assert recipe.training.varying_span is not None
    assert recipe.model == load_recipe("quickstart").model
    with pytest.raises(InputError, match=r"^override: training\.epochs: epochs is no section but 4$"):
        load_recipe("quickstart", {"training": {"epochs": {}}})


def test_the_run_that_a_remedy_begins_from_is_written_as_a_shell_reads_it() -> None:
    before, now = load_recipe("quickstart"), load_recipe("quickstart", ["--training.seed=1"])
    (message,) = refusals(before, now, Path("my runs/one"))
    assert message.endswith("from these weights with --model.start_from='my runs/one'")
