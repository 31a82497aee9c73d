"""Recipes: all mistakes at once, each with its place; overrides; YAML 1.2; what is written reads back equal."""

from pathlib import Path

import pytest

from sgrnn.config import (
    BPTT,
    Adam,
    Cosine,
    ErrorSynthesizer,
    MLPSynthesizer,
    Recipe,
    StepDecay,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.config.files import dump_recipe, find_recipe, load_recipe, parse_recipe, shipped_recipes
from sgrnn.errors import InputError

from .tiny import RECIPE

GOOD = """\
data: {corpus: python-docs}
model: {hidden_size: 16}
gradient: {kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}
optimizer: {kind: sgd, learning_rate: 3e-4}
training: {epochs: 1}
"""


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as error:
        parse_recipe(text, "mine.yaml", None, overrides)
    return str(error.value).split("\n")


def good(*overrides: str) -> Recipe:
    return parse_recipe(GOOD, "mine.yaml", None, overrides)


def test_every_mistake_is_reported_at_once_with_file_line_and_dotted_path() -> None:
    text = """\
data:
  corpus: ptbb
  tokenizer: {kind: character, min_counts: 2}
model: {hidden_size: -1}
gradient:
  kind: synthetic
  windw: 5
  synthesizer:
    kind: mlp
    hidden_sizes: [8, 0]
    lookahed: 3
optimizer: {kind: sgd}
trainin: {epochs: 1}
"""
    assert set(mistakes(text)) == {
        "mine.yaml: training is missing",
        "mine.yaml:2: data.corpus must be 'ptb', 'ptb-char', 'wikitext-2', 'python-docs' or 'text', got 'ptbb'; "
        "did you mean ptb?",
        "mine.yaml:3: data.tokenizer.min_counts is not a field; did you mean data.tokenizer.min_count?",
        "mine.yaml:4: model.hidden_size must be greater than 0, got -1",
        "mine.yaml:5: gradient.window is missing",
        "mine.yaml:7: gradient.windw is not a field; did you mean gradient.window?",
        "mine.yaml:10: gradient.synthesizer.hidden_sizes.1 must be greater than 0, got 0",
        "mine.yaml:11: gradient.synthesizer.lookahed is not a field; did you mean gradient.synthesizer.lookahead?",
        "mine.yaml:12: optimizer.learning_rate is missing",
        "mine.yaml:13: trainin is not a field; did you mean training?",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("kind: synthetic", "kind: syntetic", "gradient.kind must be one of full, truncated, exact, synthetic, got"),
        ("kind: synthetic, ", "", "gradient.kind is missing; expected one of full, truncated, exact, "),
        ("window: 5", "window: 2.5", "gradient.window must be a valid integer, got a number with a fractional part"),
        ("window: 5", "window: five", "gradient.window must be a valid integer"),
        ("window: 5", "window: 0", "gradient.window must be greater than 0, got 0"),
        ("window: 5", "window: 5, discount: 1.5", "gradient.discount must be less than or equal to 1, got 1.5"),
        ("window: 5", "window: 5, discount: .nan", "gradient.discount must be a finite number, got nan"),
        ("window: 5", "window: 5, zzz: 1", "gradient.zzz is not a field; expected one of discount, "),
        ("window: 5", "window: 5, hidden_sizes: [8]", "gradient.hidden_sizes is not a field; expected one of discount, "),
        (
            "kind: mlp",
            "kind: mlpp",
            "gradient.synthesizer.kind must be one of error, adjoint, mlp, got 'mlpp'",
        ),
        ("kind: mlp, ", "", "gradient.synthesizer.kind is missing; expected one of error, adjoint, mlp"),
        ("{kind: mlp, lookahead: 2}", "mlp", "gradient.synthesizer must be a section, like gradient.synthesizer: {fie"),
        ("kind: mlp", "kind: mlp, hidden_sizes: [8, 0]", "gradient.synthesizer.hidden_sizes.1 must be greater than 0"),
        ("lookahead: 2", "lookahead: -1", "gradient.synthesizer.lookahead must be greater than or equal to 0, got -1"),
        ("kind: mlp, lookahead: 2", "kind: error, lookahead: 0", "gradient.synthesizer.lookahead must be greater than"),
        ("kind: mlp", "kind: error, rank: 0", "gradient.synthesizer.rank must be greater than 0, got 0"),
        ("kind: mlp", "kind: error, projection: ~", "gradient.synthesizer.projection must be a valid integer, got Non"),
        (
            "kind: mlp",
            "kind: error, hidden_sizes: [8]",
            "gradient.synthesizer.hidden_sizes is not a field; did you mean gradient.synthesizer.hidden_size?",
        ),
        (
            "kind: mlp",
            "kind: error, zzz: 1",
            "gradient.synthesizer.zzz is not a field; expected one of hidden_size, kind, lookahead, near, projection, ",
        ),
        ("hidden_size: 16", "hidden_size: 16, tied: true, embedding_size: 8", "model: tied needs embedding_size"),
        (
            "hidden_size: 16",
            "hidden_size: 16, slower_levels: [{period: 4, hidden_size: 8}, {period: 2, hidden_size: 8}]",
            "model.slower_levels: periods must not decrease from level to level, got 4, 2",
        ),
        (
            "hidden_size: 16",
            "hidden_size: 16, slower_levels: [{period: 0, hidden_size: 8}]",
            "model.slower_levels.0.period must be greater than 0, got 0",
        ),
        (
            "hidden_size: 16",
            "hidden_size: 16, slower_levels: [{period: 4}]",
            "model.slower_levels.0.hidden_size is missing",
        ),
        (
            "hidden_size: 16",
            "hidden_size: 16, slower_levels: [{period: 4, hidden_size: 8, message_size: -1}]",
            "model.slower_levels.0.message_size must be greater than 0, got -1",
        ),
        (
            "hidden_size: 16",
            "hidden_size: 16, num_layers: 2, slower_levels: [{period: 4, hidden_size: 8}]",
            "model: num_layers must be 1 below slower_levels, got 2",
        ),
        ("{hidden_size: 16}", "sixteen", "model must be a section, like model: {field: value}, got 'sixteen'"),
        ("{hidden_size: 16}", "", "model must be a section, like model: {field: value}, got None"),
        ("python-docs", "text", "data: corpus text needs train: the file to train on"),
        ("python-docs", "ptb, train: a.txt", "data: train, valid and test are for corpus text, not ptb"),
        ("python-docs", "ptb, tokenizer: {kind: bpe}", "data.tokenizer: bpe needs vocabulary_size"),
        (
            "python-docs",
            "ptb, tokenizer: {kind: unigram, vocabulary_size: 300, min_count: 2}",
            "data.tokenizer: min_count is for word and character, not unigram",
        ),
        (
            "python-docs",
            "ptb, tokenizer: {kind: character, vocabulary_size: 300}",
            "data.tokenizer: vocabulary_size is not for character",
        ),
        ("window: 5", "window: 5, grounding: {every: 0, window: 9}", "gradient.grounding.every must be greater than 0"),
        ("window: 5", "window: 5, grounding: {every: 2}", "gradient.grounding.window is missing"),
        ("window: 5", "window: 5, source: {kind: rand}", "gradient.source.kind must be one of constant, alternate"),
        ("window: 5", "window: 5, source: {kind: random, probability: 1.5}", "gradient.source.probability must be les"),
        ("window: 5", "window: 5, source: {kind: alternate, every: -1}", "gradient.source.every must be greater than"),
        ("window: 5", "window: 5, source: {kind: alternate, every: 1, first: both}", "gradient.source.first must be"),
        ("window: 5", "window: 5, source: {kind: ramp, start: 2, stop: 1}", "gradient.source: stop must be above star"),
        ("window: 5", "window: 5, source: {kind: ramp, stop: 1, after: 2}", "gradient.source.after must be less than"),
        ("epochs: 1", "epochs: 1, seed: -1", "training.seed must be greater than or equal to 0, got -1"),
        ("epochs: 1", f"epochs: 1, seed: {2**63}", "training.seed must be less than 9223372036854775808"),
        ("epochs: 1", "epochs: 1, precision: float16", "training.precision must be 'float32' or 'bfloat16'"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_rule_and_value(before: str, after: str, expected: str) -> None:
    assert before in GOOD
    (line,) = mistakes(GOOD.replace(before, after))
    number = next(index for index, text in enumerate(GOOD.splitlines(), 1) if before in text)
    assert line.startswith(f"mine.yaml:{number}: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "mine.yaml: a recipe is a mapping of sections such as data, model, gradient; got nothing"),
        ("# only a comment\n", "mine.yaml: a recipe is a mapping of sections such as data, model, gradient; got nothi"),
        ("- data\n", "mine.yaml: a recipe is a mapping of sections"),
        ("hello\n", "mine.yaml: a recipe is a mapping of sections"),
        (GOOD + "model: {hidden_size: 3}\n", 'mine.yaml:6: not valid YAML: found duplicate key "model"'),
        (GOOD + "sample:\n  length: 1\n  length: 2\n", 'mine.yaml:8: not valid YAML: found duplicate key "length"'),
        ("data: {corpus: [}\n", "mine.yaml:1: not valid YAML: "),
        ("data:\n\tcorpus: ptb\n", "mine.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
        ("data: \x00\n", "mine.yaml: not valid YAML: unacceptable character #x0000"),
        (GOOD + "---\n" + GOOD, "mine.yaml:6: not valid YAML: "),
    ],
)  # fmt: skip
def test_what_is_no_yaml_mapping_is_refused_with_its_line(text: str, expected: str) -> None:
    assert mistakes(text)[0].startswith(expected)


def test_numbers_and_words_are_read_as_in_yaml_1_2() -> None:
    recipe = good("--sample.prompt=yes", "--optimizer.learning_rate=3e-4", "--training.clip=1E1")
    assert isinstance(recipe.optimizer.learning_rate, float)
    assert (recipe.optimizer.learning_rate, recipe.training.clip, recipe.sample.prompt) == (3e-4, 10.0, "yes")
    for number in ("3e-4", "1.5", "12"):
        (line,) = mistakes(GOOD + f"sample: {{prompt: {number}}}")
        assert f"sample.prompt must be a valid string, got {float(number):g}" in line, "a number, not text"


TEXTS = [
    "The # sign", "#v.txt", "# all of it", "1984", "3e-4", "0x10", "1_000", "yes", "true", "null", "~", "", " ",
    "a: b", "- a", "[", "{", "]", "'", '"', "''", '"quoted"', "it's", "*star", "&and", "!bang", "%d", "@at", "`tick`",
    "|", ">", "---", "...", "tab\there", "two\nlines\n", "\n", "1984-01-01", "12:30:00", ".inf", "=", "<<", "?", ", ",
    "  two ", "\\n", "é 中文", "\x07 bell", "\u2028", "a " * 200,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("spelling", ["one argument", "two arguments"])
def test_a_field_that_takes_a_text_gets_what_is_written(text: str, spelling: str) -> None:
    field = "--sample.prompt"
    recipe = good(*([f"{field}={text}"] if spelling == "one argument" else [field, text]))
    assert recipe.sample.prompt == text
    assert parse_recipe(dump_recipe(recipe), "kept").sample.prompt == text, "and keeps it in the run's folder"


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    text = b"caf\xe9".decode(errors="surrogateescape")  # as Python reads such an argument
    assert mistakes(GOOD, f"--sample.prompt={text}") == [
        "command line: --sample.prompt must be UTF-8 text, got 'caf\\udce9'"
    ]


@pytest.mark.parametrize("name", ["#v.txt", "1984", "a # b.txt", "true", "[a].txt", "2024-01-01"])
def test_a_path_on_the_command_line_is_what_is_written(name: str) -> None:
    data = good("--data.corpus=text", f"--data.train={name}", f"--data.test={name}").data
    assert data is not None
    assert (data.train, data.test, data.valid) == (Path.cwd() / name, Path.cwd() / name, None)


@pytest.mark.parametrize("nothing", ["null", "~", ""])
def test_a_path_that_may_be_left_out_can_be_taken_away(nothing: str) -> None:
    text = GOOD.replace("python-docs", "text, train: a.txt, test: b.txt")
    data = parse_recipe(text, "mine.yaml", None, [f"--data.test={nothing}"]).data
    assert data is not None
    assert data.test is None


@pytest.mark.parametrize("value", ["3 # epochs", "3 #"])
def test_what_yaml_would_cut_off_a_value_is_refused(value: str) -> None:
    (line,) = mistakes(GOOD, f"--training.epochs={value}")
    assert line.startswith("command line: --training.epochs: '#")
    assert line.endswith("is a comment in YAML, and would be lost: remove it")
    (line,) = mistakes(GOOD, "--gradient.source={kind: random, probability: 0.5} # by chance")
    assert line.startswith("command line: --gradient.source: '# by chance' of ")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        (("--seed=3",), "--training.seed=3"),
        (("--seed", "3"), "--training.seed=3"),
        (("--seed",), "--training.seed"),
        (("--seed", "--gradient.window=3"), "--training.seed"),
        (("--batch-size=8",), "--training.batch_size=8"),
        (("--windw=3",), "--gradient.window=3"),
        (("-window=3",), "--gradient.window=3"),
        (("window=3",), "--gradient.window=3"),
        (("gradient.window=3",), "--gradient.window=3"),
        (("--prompt=a b",), "--sample.prompt=a b"),
        (("--lr=0.1",), "--optimizer.learning_rate=0.1 or --synthesizer_optimizer.learning_rate=0.1"),
        (("--gradient=truncated",), "--gradient.kind=truncated"),
        (("--sample={length: 3}",), None),
        (("--zzz=1",), None),
    ],
)
def test_a_field_without_its_section_is_guessed(override: tuple[str, ...], meant: str | None) -> None:
    (line,) = mistakes(GOOD, *override)
    guess = f"; did you mean {meant}?" if meant else ""
    assert line == f"command line: expected an override like --gradient.window=5, got {override[0]!r}{guess}"


def test_a_field_in_the_wrong_section_is_guessed() -> None:
    (line,) = mistakes(GOOD, "--model.seed=3")
    assert line.startswith("command line: model.seed is not a field; expected one of core, ")
    assert line.endswith("; did you mean training.seed?")


def test_anchors_and_merges_work_and_their_mistakes_have_a_line() -> None:
    text = GOOD.replace("{kind: sgd", "&slow {kind: sgd") + "synthesizer_optimizer:\n  <<: *slow\n  momentum: 0.5\n"
    recipe = parse_recipe(text, "mine.yaml")
    assert recipe.synthesizer_optimizer.model_dump() == recipe.optimizer.model_dump() | {"momentum": 0.5}
    assert [line.split(" must")[0] for line in mistakes(text.replace("3e-4", "-1"))] == [
        "mine.yaml:4: optimizer.learning_rate",
        "mine.yaml:6: synthesizer_optimizer.learning_rate",
    ]


def test_overrides_replace_values_in_either_spelling() -> None:
    assert good("--gradient.window=7", "--training.span", "30").gradient == good("--gradient.window", "7").gradient
    wide = "--gradient.synthesizer.hidden_sizes=[8, 4]"
    recipe = good(wide, "--training.clip=null", "--model.tied=true", "--sample.prompt=a b")
    assert isinstance(recipe.gradient, SyntheticGradients)
    assert recipe.gradient.synthesizer == MLPSynthesizer(lookahead=2, hidden_sizes=(8, 4))
    assert (recipe.training.clip, recipe.model.tied, recipe.sample.prompt) == (None, True, "a b")
    data = good("--data.tokenizer.kind=character").data
    assert data is not None
    assert data.tokenizer.kind == "character"
    assert good("--gradient.window=1", "--gradient.window=2").gradient == good("--gradient.window=2").gradient


def test_another_kind_drops_the_fields_it_lacks_and_keeps_the_others_in_any_order() -> None:
    assert good("--gradient.kind=truncated").gradient == TruncatedBPTT(window=5)
    assert good("--gradient.kind=full").gradient == BPTT()
    full = GOOD.replace("{kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}", "{kind: full}")
    assert full != GOOD
    for overrides in (
        ("--gradient.kind=truncated", "--gradient.window=9"),
        ("--gradient.window=9", "--gradient.kind=truncated"),
    ):
        assert parse_recipe(full, "mine.yaml", None, overrides).gradient == TruncatedBPTT(window=9)
    assert mistakes(full, "--gradient.kind=truncated") == ["mine.yaml:3: gradient.window is missing"]
    for asked in ("discount=0.9", "synthesizer.lookahead=3"):
        (line,) = mistakes(GOOD, f"--gradient.{asked}", "--gradient.kind=truncated")
        name = asked.split(".")[0].split("=")[0]
        assert line.startswith(f"command line: gradient.{name} is not a field"), "what was asked for is not dropped"
    assert good("--optimizer.kind=adam").optimizer == Adam(learning_rate=3e-4)
    assert good("--gradient.kind=synthetic").gradient == good().gradient, "the same kind drops nothing"
    assert good("--schedule.kind=cosine", "--schedule.floor=0.1").schedule == Cosine(floor=0.1)


def test_another_kind_of_a_section_within_a_section_does_the_same() -> None:
    def synthesizer(*overrides: str) -> object:
        text = GOOD.replace("lookahead: 2", "lookahead: 2, projection: 7, hidden_sizes: [8]")
        estimator = parse_recipe(text, "mine.yaml", None, overrides).gradient
        assert isinstance(estimator, SyntheticGradients)
        assert estimator.window == 5
        return estimator.synthesizer

    rank = "--gradient.synthesizer.rank=4"
    assert synthesizer() == MLPSynthesizer(lookahead=2, projection=7, hidden_sizes=(8,))
    assert synthesizer("--gradient.synthesizer.kind=mlp") == synthesizer(), "the same kind drops nothing"
    for overrides in ((rank, "--gradient.synthesizer.kind=error"), ("--gradient.synthesizer.kind=error", rank)):
        assert synthesizer(*overrides) == ErrorSynthesizer(lookahead=2, projection=7, rank=4)
    (line,) = mistakes(GOOD, "--gradient.synthesizer.auxiliary=true", "--gradient.synthesizer.kind=error")
    assert line.startswith("command line: gradient.synthesizer.auxiliary is not a field")


def test_a_kind_is_chosen_before_the_kinds_within_it() -> None:
    truncated = GOOD.replace("{kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}", "{kind: full}")
    overrides = ["--gradient.synthesizer.kind=mlp", "--gradient.kind=synthetic", "--gradient.window=3"]
    expected = SyntheticGradients(window=3, synthesizer=MLPSynthesizer())
    assert parse_recipe(truncated, "mine.yaml", None, overrides).gradient == expected
    (line,) = mistakes(truncated, overrides[0])
    assert line.startswith("command line: gradient.synthesizer is not a field")


def test_a_field_of_a_section_that_the_recipe_leaves_out_belongs_to_its_default_kind() -> None:
    plain = GOOD.replace(", synthesizer: {kind: mlp, lookahead: 2}", "")
    assert plain != GOOD
    for overrides, expected in (
        ((), ErrorSynthesizer()),
        (("--gradient.synthesizer.lookahead=3",), ErrorSynthesizer(lookahead=3)),
        (("--gradient.synthesizer.kind=mlp",), MLPSynthesizer()),
        (("--gradient.synthesizer.lookahead=0", "--gradient.synthesizer.kind=mlp"), MLPSynthesizer(lookahead=0)),
    ):
        estimator = parse_recipe(plain, "mine.yaml", None, overrides).gradient
        assert estimator == SyntheticGradients(window=5, synthesizer=expected)
    assert good("--synthesizer_optimizer.learning_rate=0.5").synthesizer_optimizer == Adam(learning_rate=0.5)
    assert good("--schedule.kind=step", "--schedule.after=3").schedule == StepDecay(after=3)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--gradient.windw=7"], "command line: gradient.windw is not a field; did you mean gradient.window?"),
        (["--gradint.window=7"], "command line: gradint is not a field; did you mean gradient?"),
        (["--gradient.window=x"], "command line: gradient.window must be a valid integer"),
        (["--gradient.kind=trunc"], "command line: gradient.kind must be one of full, truncated, exact, synthetic, go"),
        (["--gradient.synthesizer.kind=erorr"], "command line: gradient.synthesizer.kind must be one of error, adj"),
        (["--gradient.synthesizer.rank=4"], "command line: gradient.synthesizer.rank is not a field; expected one of "),
        (["--gradient.synthesizer=mlp"], "command line: gradient.synthesizer must be a section, like gradient.synthes"),
        (["--gradient.hidden_sizes=[4]"], "command line: gradient.hidden_sizes is not a field; expected one of discount,"),
        (["--schedule.kind=cosin"], "command line: schedule.kind must be one of constant, step, plateau, cosine"),
        (["--training.epochs.x=1"], "command line: --training.epochs.x: epochs is no section but 1"),
        (["--gradient.window"], "command line: --gradient.window needs a value, like --gradient.window=5"),
        (["--gradient.window=["], "command line: --gradient.window: not a YAML value: '['"),
        (["--window=5"], "command line: expected an override like --gradient.window=5, got '--window=5'"),
        (["gradient.window=5"], "command line: expected an override like --gradient.window=5, got 'gradient.window=5'"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_blamed_on_the_command_line(overrides: list[str], expected: str) -> None:
    (line,) = mistakes(GOOD, *overrides)
    assert line.startswith(expected)


def test_mistakes_in_file_and_overrides_are_reported_together() -> None:
    lines = mistakes(GOOD.replace("hidden_size: 16", "hidden_size: 0"), "--training.epochs=0", "--gradient.window=-1")
    assert [line.split(":")[0] for line in lines] == ["mine.yaml", "command line", "command line"]


def test_a_recipe_is_found_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(GOOD)
    (tmp_path / "plain").write_text(GOOD)
    (tmp_path / "quickstart").mkdir()  # a folder of that name does not hide the recipe
    assert load_recipe("mine.yaml") == load_recipe(str(tmp_path / "plain")) == good()
    assert find_recipe("quickstart") == (shipped_recipes()["quickstart"], None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quikstart", "there is no recipe named 'quikstart'; did you mean quickstart?; expected one of "),
        ("missing.yaml", "cannot read the recipe missing.yaml: [Errno 2] No such file"),
        ("folder", "cannot read the recipe folder: [Errno 21] Is a directory"),
        ("latin.yaml", "cannot read the recipe latin.yaml: 'utf-8' codec can't decode byte 0xe9"),
        ("--gradient.window=5", "name the recipe first, then its overrides: got --gradient.window=5 in its place"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.yaml").write_bytes(GOOD.encode() + "# é".encode("latin-1"))
    with pytest.raises(InputError) as error:
        load_recipe(name)
    assert str(error.value).startswith(expected)


def test_paths_of_texts_are_relative_to_the_recipe_and_of_overrides_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (there / "mine.yaml").write_text(GOOD.replace("python-docs", "text, train: book.txt, test: /abs/test.txt"))
    monkeypatch.chdir(here)
    data = load_recipe("../there/mine.yaml", ["--data.valid=valid.txt"]).data
    assert data is not None
    assert (data.train, data.valid, data.test) == (there / "book.txt", here / "valid.txt", Path("/abs/test.txt"))
    data = load_recipe("quickstart", ["--data.corpus=text", "--data.train=book.txt"]).data
    assert data is not None
    assert data.train == here / "book.txt"


@pytest.mark.parametrize(
    ("estimator", "rest", "expected"),
    [
        ("", "schedule: {kind: restarts, period: 1}", "6: schedule.period must be below training.epochs, 1, or"),
        ("source: {kind: restarts}", "", "3: gradient.source.kind restarts needs schedule.kind to be restarts"),
        ("source: {kind: alternate, every: 1}", "", "3: gradient.source.every must be below training.epochs, 1, or"),
        ("source: {kind: alternate, every: 0.5, unit: updates}", "", "3: gradient.source.every must be a whole"),
        ("grounding: {every: 2, window: 4}", "", "3: gradient.grounding.window must be at least gradient.window, 5, g"),
        ("real_window: 7, source: {kind: constant, share: 0}", "", "3: gradient.real_window must be a multiple"),
        ("real_window: 10", "", "3: gradient.real_window is for real gradients, and"),
        ("learn_always: true", "", "3: gradient.learn_always is for real gradients, and"),
        ("source: {kind: constant, share: 0}, grounding: {every: 2, window: 10}", "", "3: gradient.grounding is for"),
        ("source: {kind: ramp, start: 1, stop: 2}", "", "3: gradient.source.start must be below training.epochs, 1"),
        ("grounding: {every: 2, window: 21}", "", "3: gradient.grounding.window must be at most training.span, 20"),
        ("source: {kind: constant, share: 0}, real_window: 25", "", "3: gradient.real_window must be at most"),
    ],
)  # fmt: skip
def test_sections_that_contradict_each_other_are_refused(estimator: str, rest: str, expected: str) -> None:
    text = GOOD.replace("window: 5", f"window: 5, {estimator}" if estimator else "window: 5") + rest
    (line,) = mistakes(text)
    assert line.startswith(f"mine.yaml:{expected}")


def test_all_contradictions_are_reported_at_once() -> None:
    text = GOOD.replace("window: 5", "window: 5, source: {kind: restarts}, grounding: {every: 2, window: 21}")
    text = text.replace("epochs: 1", "epochs: 1, max_updates: 9") + "schedule: {kind: restarts, period: 2}"
    assert [line.split(" must ")[0] for line in mistakes(text)] == [
        "mine.yaml:6: schedule.period", "mine.yaml:3: gradient.grounding.window"
    ]  # fmt: skip
    late = GOOD.replace("window: 5", "window: 5, source: {kind: alternate, every: 9, unit: updates}")
    (line,) = mistakes(late.replace("epochs: 1", "epochs: 1, max_updates: 9"))
    assert line.startswith("mine.yaml:3: gradient.source.every must be below training.max_updates, 9, or nothing ever")


def test_a_contradiction_of_the_command_line_is_blamed_on_it() -> None:
    (line,) = mistakes(GOOD, "--gradient.grounding={every: 2, window: 21}")
    assert line.startswith("command line: gradient.grounding.window must be at most training.span, 20, got 21")


KINDS = {
    "full": ("--gradient.kind=full",),
    "truncated": ("--gradient.kind=truncated",),
    "synthetic": ("--gradient.kind=synthetic",),
    "by turns": ("--gradient.source.kind=restarts", "--schedule.kind=restarts", "--schedule.period=2"),
    "grounded ramp": ("--gradient.source={kind: ramp, stop: 3}", "--gradient.grounding={every: 3, window: 6}"),
    "perceptron": ("--gradient.synthesizer.kind=mlp", "--gradient.synthesizer.hidden_sizes=[]"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_back_equal(tmp_path: Path, kind: str) -> None:
    overrides = [*KINDS[kind], "--sample.prompt='é: #\"\\n'", "--training.clip=null"]
    recipe = parse_recipe(RECIPE, "tiny", tmp_path, overrides)
    again = parse_recipe(dump_recipe(recipe), "written")
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "grounding={every: 2, window: 10}",
            "gradient.grounding has other windows than gradient.synthesizer.kind adjoint",
        ),
        (
            "follow_rate=0.5",
            "gradient.follow_rate is for bootstrapping, which gradient.synthesizer.kind adjoint does not",
        ),
        ("follow_every=2", "gradient.follow_every is for bootstrapping"),
    ],
)
def test_what_an_adjoint_synthesizer_cannot_do_is_refused(override: str, expected: str) -> None:
    (line,) = mistakes(GOOD, "--gradient.synthesizer={kind: adjoint}", f"--gradient.{override}")
    assert line.startswith(f"command line: {expected}")
