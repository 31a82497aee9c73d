"""Recipes: all mistakes at once, each with its place; overrides; YAML 1.2; what is written reads back equal."""

from pathlib import Path

import pytest

from sgrnn.errors import InputError
from sgrnn.training.recipe import (
    Adam,
    Cosine,
    ErrorSynthesizer,
    Full,
    MLPSynthesizer,
    Recipe,
    StepDecay,
    Synthetic,
    Truncated,
)
from sgrnn.training.recipe_files import dump_recipe, find_recipe, load_recipe, parse_recipe, shipped_recipes

from .tiny import RECIPE

GOOD = """\
data: {corpus: python-docs}
model: {hidden_size: 16}
policy: {kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}
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
policy:
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
        "mine.yaml:5: policy.window is missing",
        "mine.yaml:7: policy.windw is not a field; did you mean policy.window?",
        "mine.yaml:10: policy.synthesizer.hidden_sizes.1 must be greater than 0, got 0",
        "mine.yaml:11: policy.synthesizer.lookahed is not a field; did you mean policy.synthesizer.lookahead?",
        "mine.yaml:12: optimizer.learning_rate is missing",
        "mine.yaml:13: trainin is not a field; did you mean training?",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("kind: synthetic", "kind: syntetic", "policy.kind must be one of full, truncated, exact, synthetic, got"),
        ("kind: synthetic, ", "", "policy.kind is missing; expected one of full, truncated, exact, "),
        ("window: 5", "window: 2.5", "policy.window must be a valid integer, got a number with a fractional part"),
        ("window: 5", "window: five", "policy.window must be a valid integer"),
        ("window: 5", "window: 0", "policy.window must be greater than 0, got 0"),
        ("window: 5", "window: 5, discount: 1.5", "policy.discount must be less than or equal to 1, got 1.5"),
        ("window: 5", "window: 5, discount: .nan", "policy.discount must be a finite number, got nan"),
        ("window: 5", "window: 5, zzz: 1", "policy.zzz is not a field; expected one of ahead, center, discount"),
        ("window: 5", "window: 5, hidden_sizes: [8]", "policy.hidden_sizes is not a field; expected one of ahead, "),
        (
            "kind: mlp",
            "kind: mlpp",
            "policy.synthesizer.kind must be one of error, adjoint, mlp, got 'mlpp'",
        ),
        ("kind: mlp, ", "", "policy.synthesizer.kind is missing; expected one of error, adjoint, mlp"),
        ("{kind: mlp, lookahead: 2}", "mlp", "policy.synthesizer must be a section, like policy.synthesizer: {field: "),
        ("kind: mlp", "kind: mlp, hidden_sizes: [8, 0]", "policy.synthesizer.hidden_sizes.1 must be greater than 0"),
        ("lookahead: 2", "lookahead: -1", "policy.synthesizer.lookahead must be greater than or equal to 0, got -1"),
        ("kind: mlp, lookahead: 2", "kind: error, lookahead: 0", "policy.synthesizer.lookahead must be greater than 0"),
        ("kind: mlp", "kind: error, rank: 0", "policy.synthesizer.rank must be greater than 0, got 0"),
        ("kind: mlp", "kind: error, projection: ~", "policy.synthesizer.projection must be a valid integer, got None"),
        (
            "kind: mlp",
            "kind: error, hidden_sizes: [8]",
            "policy.synthesizer.hidden_sizes is not a field; did you mean policy.synthesizer.hidden_size?",
        ),
        (
            "kind: mlp",
            "kind: error, zzz: 1",
            "policy.synthesizer.zzz is not a field; expected one of hidden_size, kind, lookahead, near, projection, ",
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
        ("window: 5", "window: 5, grounding: {every: 0, window: 9}", "policy.grounding.every must be greater than 0"),
        ("window: 5", "window: 5, grounding: {every: 2}", "policy.grounding.window is missing"),
        ("window: 5", "window: 5, source: {kind: rand}", "policy.source.kind must be one of constant, alternate"),
        ("window: 5", "window: 5, source: {kind: random, probability: 1.5}", "policy.source.probability must be less"),
        ("window: 5", "window: 5, source: {kind: alternate, every: -1}", "policy.source.every must be greater than 0"),
        ("window: 5", "window: 5, source: {kind: alternate, every: 1, first: both}", "policy.source.first must be"),
        ("window: 5", "window: 5, source: {kind: ramp, start: 2, stop: 1}", "policy.source: stop must be above start"),
        ("window: 5", "window: 5, source: {kind: ramp, stop: 1, after: 2}", "policy.source.after must be less than"),
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
        ("", "mine.yaml: a recipe is a mapping of sections such as data, model, policy; got nothing"),
        ("# only a comment\n", "mine.yaml: a recipe is a mapping of sections such as data, model, policy; got nothing"),
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
    (line,) = mistakes(GOOD, "--policy.source={kind: random, probability: 0.5} # by chance")
    assert line.startswith("command line: --policy.source: '# by chance' of ")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        (("--seed=3",), "--training.seed=3"),
        (("--seed", "3"), "--training.seed=3"),
        (("--seed",), "--training.seed"),
        (("--seed", "--policy.window=3"), "--training.seed"),
        (("--batch-size=8",), "--training.batch_size=8"),
        (("--windw=3",), "--policy.window=3"),
        (("-window=3",), "--policy.window=3"),
        (("window=3",), "--policy.window=3"),
        (("policy.window=3",), "--policy.window=3"),
        (("--prompt=a b",), "--sample.prompt=a b"),
        (("--lr=0.1",), "--optimizer.learning_rate=0.1 or --synthesizer_optimizer.learning_rate=0.1"),
        (("--policy=truncated",), "--policy.kind=truncated"),
        (("--sample={length: 3}",), None),
        (("--zzz=1",), None),
    ],
)
def test_a_field_without_its_section_is_guessed(override: tuple[str, ...], meant: str | None) -> None:
    (line,) = mistakes(GOOD, *override)
    guess = f"; did you mean {meant}?" if meant else ""
    assert line == f"command line: expected an override like --policy.window=5, got {override[0]!r}{guess}"


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
    assert good("--policy.window=7", "--training.span", "30").policy == good("--policy.window", "7").policy
    wide = "--policy.synthesizer.hidden_sizes=[8, 4]"
    recipe = good(wide, "--training.clip=null", "--model.tied=true", "--sample.prompt=a b")
    assert isinstance(recipe.policy, Synthetic)
    assert recipe.policy.synthesizer == MLPSynthesizer(lookahead=2, hidden_sizes=(8, 4))
    assert (recipe.training.clip, recipe.model.tied, recipe.sample.prompt) == (None, True, "a b")
    data = good("--data.tokenizer.kind=character").data
    assert data is not None
    assert data.tokenizer.kind == "character"
    assert good("--policy.window=1", "--policy.window=2").policy == good("--policy.window=2").policy


def test_another_kind_drops_the_fields_it_lacks_and_keeps_the_others_in_any_order() -> None:
    assert good("--policy.kind=truncated").policy == Truncated(window=5)
    assert good("--policy.kind=full").policy == Full()
    full = GOOD.replace("{kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}", "{kind: full}")
    assert full != GOOD
    for overrides in (
        ("--policy.kind=truncated", "--policy.window=9"),
        ("--policy.window=9", "--policy.kind=truncated"),
    ):
        assert parse_recipe(full, "mine.yaml", None, overrides).policy == Truncated(window=9)
    assert mistakes(full, "--policy.kind=truncated") == ["mine.yaml:3: policy.window is missing"]
    for asked in ("discount=0.9", "synthesizer.lookahead=3"):
        (line,) = mistakes(GOOD, f"--policy.{asked}", "--policy.kind=truncated")
        name = asked.split(".")[0].split("=")[0]
        assert line.startswith(f"command line: policy.{name} is not a field"), "what was asked for is not dropped"
    assert good("--optimizer.kind=adam").optimizer == Adam(learning_rate=3e-4)
    assert good("--policy.kind=synthetic").policy == good().policy, "the same kind drops nothing"
    assert good("--schedule.kind=cosine", "--schedule.floor=0.1").schedule == Cosine(floor=0.1)


def test_another_kind_of_a_section_within_a_section_does_the_same() -> None:
    def synthesizer(*overrides: str) -> object:
        text = GOOD.replace("lookahead: 2", "lookahead: 2, projection: 7, hidden_sizes: [8]")
        policy = parse_recipe(text, "mine.yaml", None, overrides).policy
        assert isinstance(policy, Synthetic)
        assert policy.window == 5
        return policy.synthesizer

    rank = "--policy.synthesizer.rank=4"
    assert synthesizer() == MLPSynthesizer(lookahead=2, projection=7, hidden_sizes=(8,))
    assert synthesizer("--policy.synthesizer.kind=mlp") == synthesizer(), "the same kind drops nothing"
    for overrides in ((rank, "--policy.synthesizer.kind=error"), ("--policy.synthesizer.kind=error", rank)):
        assert synthesizer(*overrides) == ErrorSynthesizer(lookahead=2, projection=7, rank=4)
    (line,) = mistakes(GOOD, "--policy.synthesizer.auxiliary=true", "--policy.synthesizer.kind=error")
    assert line.startswith("command line: policy.synthesizer.auxiliary is not a field")


def test_a_kind_is_chosen_before_the_kinds_within_it() -> None:
    truncated = GOOD.replace("{kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}", "{kind: full}")
    overrides = ["--policy.synthesizer.kind=mlp", "--policy.kind=synthetic", "--policy.window=3"]
    expected = Synthetic(window=3, synthesizer=MLPSynthesizer())
    assert parse_recipe(truncated, "mine.yaml", None, overrides).policy == expected
    (line,) = mistakes(truncated, overrides[0])
    assert line.startswith("command line: policy.synthesizer is not a field")


def test_a_field_of_a_section_that_the_recipe_leaves_out_belongs_to_its_default_kind() -> None:
    plain = GOOD.replace(", synthesizer: {kind: mlp, lookahead: 2}", "")
    assert plain != GOOD
    for overrides, expected in (
        ((), ErrorSynthesizer()),
        (("--policy.synthesizer.lookahead=3",), ErrorSynthesizer(lookahead=3)),
        (("--policy.synthesizer.kind=mlp",), MLPSynthesizer()),
        (("--policy.synthesizer.lookahead=0", "--policy.synthesizer.kind=mlp"), MLPSynthesizer(lookahead=0)),
    ):
        policy = parse_recipe(plain, "mine.yaml", None, overrides).policy
        assert policy == Synthetic(window=5, synthesizer=expected)
    assert good("--synthesizer_optimizer.learning_rate=0.5").synthesizer_optimizer == Adam(learning_rate=0.5)
    assert good("--schedule.kind=step", "--schedule.after=3").schedule == StepDecay(after=3)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--policy.windw=7"], "command line: policy.windw is not a field; did you mean policy.window?"),
        (["--polcy.window=7"], "command line: polcy is not a field; did you mean policy?"),
        (["--policy.window=x"], "command line: policy.window must be a valid integer"),
        (["--policy.kind=trunc"], "command line: policy.kind must be one of full, truncated, exact, synthetic, got"),
        (["--policy.synthesizer.kind=erorr"], "command line: policy.synthesizer.kind must be one of error, adj"),
        (["--policy.synthesizer.rank=4"], "command line: policy.synthesizer.rank is not a field; expected one of "),
        (["--policy.synthesizer=mlp"], "command line: policy.synthesizer must be a section, like policy.synthesizer"),
        (["--policy.hidden_sizes=[4]"], "command line: policy.hidden_sizes is not a field; expected one of ahead, "),
        (["--schedule.kind=cosin"], "command line: schedule.kind must be one of constant, step, plateau, cosine"),
        (["--training.epochs.x=1"], "command line: --training.epochs.x: epochs is no section but 1"),
        (["--policy.window"], "command line: --policy.window needs a value, like --policy.window=5"),
        (["--policy.window=["], "command line: --policy.window: not a YAML value: '['"),
        (["--window=5"], "command line: expected an override like --policy.window=5, got '--window=5'"),
        (["policy.window=5"], "command line: expected an override like --policy.window=5, got 'policy.window=5'"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_blamed_on_the_command_line(overrides: list[str], expected: str) -> None:
    (line,) = mistakes(GOOD, *overrides)
    assert line.startswith(expected)


def test_mistakes_in_file_and_overrides_are_reported_together() -> None:
    lines = mistakes(GOOD.replace("hidden_size: 16", "hidden_size: 0"), "--training.epochs=0", "--policy.window=-1")
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
        ("--policy.window=5", "name the recipe first, then its overrides: got --policy.window=5 in its place"),
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
    ("policy", "rest", "expected"),
    [
        ("", "schedule: {kind: restarts, period: 1}", "6: schedule.period must be below training.epochs, 1, or"),
        ("source: {kind: restarts}", "", "3: policy.source.kind restarts needs schedule.kind to be restarts"),
        ("source: {kind: alternate, every: 1}", "", "3: policy.source.every must be below training.epochs, 1, or"),
        ("source: {kind: alternate, every: 0.5, unit: updates}", "", "3: policy.source.every must be a whole"),
        ("grounding: {every: 2, window: 4}", "", "3: policy.grounding.window must be at least policy.window, 5, got 4"),
        ("real_window: 7, source: {kind: constant, share: 0}", "", "3: policy.real_window must be a multiple"),
        ("real_window: 10", "", "3: policy.real_window is for when gradients are real, and"),
        ("learn_always: true", "", "3: policy.learn_always is for when gradients are real, and"),
        ("source: {kind: constant, share: 0}, grounding: {every: 2, window: 10}", "", "3: policy.grounding is for"),
        ("source: {kind: ramp, start: 1, stop: 2}", "", "3: policy.source.start must be below training.epochs, 1"),
        ("grounding: {every: 2, window: 21}", "", "3: policy.grounding.window must be at most training.span, 20"),
        ("source: {kind: constant, share: 0}, real_window: 25", "", "3: policy.real_window must be at most"),
    ],
)  # fmt: skip
def test_sections_that_contradict_each_other_are_refused(policy: str, rest: str, expected: str) -> None:
    text = GOOD.replace("window: 5", f"window: 5, {policy}" if policy else "window: 5") + rest
    (line,) = mistakes(text)
    assert line.startswith(f"mine.yaml:{expected}")


def test_all_contradictions_are_reported_at_once() -> None:
    text = GOOD.replace("window: 5", "window: 5, source: {kind: restarts}, grounding: {every: 2, window: 21}")
    text = text.replace("epochs: 1", "epochs: 1, max_updates: 9") + "schedule: {kind: restarts, period: 2}"
    assert [line.split(" must ")[0] for line in mistakes(text)] == [
        "mine.yaml:6: schedule.period", "mine.yaml:3: policy.grounding.window"
    ]  # fmt: skip
    late = GOOD.replace("window: 5", "window: 5, source: {kind: alternate, every: 9, unit: updates}")
    (line,) = mistakes(late.replace("epochs: 1", "epochs: 1, max_updates: 9"))
    assert line.startswith("mine.yaml:3: policy.source.every must be below training.max_updates, 9, or nothing ever")


def test_a_contradiction_of_the_command_line_is_blamed_on_it() -> None:
    (line,) = mistakes(GOOD, "--policy.grounding={every: 2, window: 21}")
    assert line.startswith("command line: policy.grounding.window must be at most training.span, 20, got 21")


KINDS = {
    "full": ("--policy.kind=full",),
    "truncated": ("--policy.kind=truncated",),
    "synthetic": ("--policy.kind=synthetic",),
    "by turns": ("--policy.source.kind=restarts", "--schedule.kind=restarts", "--schedule.period=2"),
    "grounded ramp": ("--policy.source={kind: ramp, stop: 3}", "--policy.grounding={every: 3, window: 6}"),
    "perceptron": ("--policy.synthesizer.kind=mlp", "--policy.synthesizer.hidden_sizes=[]"),
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
        ("grounding={every: 2, window: 10}", "policy.grounding has other windows than policy.synthesizer.kind adjoint"),
        ("follow_rate=0.5", "policy.follow_rate is for bootstrapping, which policy.synthesizer.kind adjoint does not"),
        ("follow_every=2", "policy.follow_every is for bootstrapping"),
    ],
)
def test_what_an_adjoint_synthesizer_cannot_do_is_refused(override: str, expected: str) -> None:
    (line,) = mistakes(GOOD, "--policy.synthesizer={kind: adjoint}", f"--policy.{override}")
    assert line.startswith(f"command line: {expected}")
