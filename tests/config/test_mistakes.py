"""Wrong recipes: all mistakes at once, each with file, line and dotted field."""

import pytest
from recipe_texts import TASK, TEXT, mistakes, task_recipe, text_recipe

from sgrnn.config.files import load_recipe, parse_recipe
from sgrnn.errors import InputError

SYNTHESIZER = "{kind: mlp, lookahead: 2}"
RATES = ("gradient", "optimizer", "synthesizer_optimizer")


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
        (
            "kind: synthetic",
            "kind: full",
            "gradient.kind must be one of bptt, checkpointed, truncated, exact, synthetic, rtrl, uoro, snap1, "
            "bp_lambda, decoupled, got 'full'",
        ),
        ("kind: synthetic, ", "", "gradient.kind is missing; expected one of bptt, checkpointed, truncated, "),
        ("window: 5", "window: 2.5", "gradient.window must be a valid integer, got 2.5"),
        ("window: 5", "window: 5, discount: 1.5", "gradient.discount must be less than or equal to 1, got 1.5"),
        ("window: 5", "window: 5, learn_every: 0", "gradient.learn_every must be greater than 0, got 0"),
        ("window: 5", "window: 5, discount: .nan", "gradient.discount must be a finite number, got nan"),
        ("window: 5", f"window: {1 << 63}", "gradient.window must be below 9,223,372,036,854,775,808, got 92233720368"),
        ("size: 16", "size: 16, num_layers: 100000", "model.num_layers must be less than or equal to 1024, got 100000"),
        ("window: 5", "window: 5, zzz: 1", "gradient.zzz is not a field; expected one of ahead, "),
        (SYNTHESIZER, "mlp", "gradient.synthesizer must be a section, like gradient.synthesizer: {field: value}"),
        ("lookahead: 2", "lookahead: -1", "gradient.synthesizer.lookahead must be greater than or equal to 0, got -1"),
        (SYNTHESIZER, "{kind: error, lookahead: 0}", "gradient.synthesizer.lookahead must be greater than 0, got 0"),
        ("kind: mlp", "kind: error, projection: ~", "gradient.synthesizer.projection must be a valid integer, got Non"),
        ("{hidden_size: 16}", "", "model must be a section, like model: {field: value}, got None"),
        ("size: 16", "size: 16, tied: true, embedding_size: 8", "model.embedding_size must be hidden_size, 16, where "),
        (
            "size: 16",
            "size: 16, tied: true, embedding_size: 8, slower_levels: [{period: 4, hidden_size: 8}]",
            "model.embedding_size must be hidden_size, 16, where tied is true and all outputs are those with ",
        ),
        ("size: 16", "size: 16, weight_dropout: 1", "model.weight_dropout must be less than 1, got 1"),
        ("size: 16", "size: 16, word_dropout: -0.1", "model.word_dropout must be greater than or equal to 0, got -0.1"),
        ("size: 16", "size: 16, output_dropout: 1", "model.output_dropout must be less than 1, got 1"),
        ("size: 16", "size: 16, embedding_dropout: 1", "model.embedding_dropout must be less than 1, got 1"),
        (
            "size: 16",
            "size: 16, activation_regularization: -1",
            "model.activation_regularization must be greater than or equal to 0, got -1",
        ),
        (
            "size: 16",
            "size: 16, dropout: 0.2, temporal_activation_regularization: 1",
            "model.locked_dropout must be true with temporal_activation_regularization, which sees changes of outputs "
            "before dropout, got false and dropout 0.2 of outputs",
        ),
        (
            "size: 16",
            "size: 16, core: feedforward, weight_dropout: 0.5",
            "model.weight_dropout must be 0 for core feedforward, which has no recurrent weights, got 0.5",
        ),
        (
            "size: 16",
            "size: 16, slower_levels: [{period: 4, hidden_size: 8}, {period: 2, hidden_size: 8}]",
            "model.slower_levels.1.period must be at least that of the level below, 4, got 2",
        ),
        ("size: 16", "size: 16, slower_levels: [{period: 4}]", "model.slower_levels.0.hidden_size is missing"),
        (
            "size: 16",
            "size: 16, num_layers: 2, slower_levels: [{period: 4, hidden_size: 8}]",
            "model.num_layers must be 1 below slower_levels, got 2",
        ),
        ("python-docs", "text", "data.train is missing: the file to train on, for corpus text"),
        ("python-docs", "ptb, valid: a.txt", "data.valid is for corpus text, not ptb: remove it"),
        ("python-docs", "ptb, reset: document", "data.reset must be line or none for ptb, which marks no documents"),
        ("python-docs", "python-docs, reset: lines", "data.reset must be 'none', 'line' or 'document', got 'lines'"),
        ("python-docs", "wikitext-2, reset: line, separator: x", "data.separator is for reset document, not line"),
        ("python-docs", "wikitext-2, reset: document, separator: ' '", "data.separator must be one line with"),
        ("python-docs", "ptb, tokenizer: {kind: bpe, vocabulary_size: 9, min_count: 2}", "data.tokenizer.min_count"),
        ("window: 5", "window: 5, source: {kind: random, probability: 2}", "gradient.source.probability must be less"),
        (f"kind: synthetic, window: 5, synthesizer: {SYNTHESIZER}", "kind: bp_lambda", "gradient.learning_rate is"),
        ("epochs: 1", "epochs: true", "training.epochs must be a number, got True"),
        ("kind: sgd", "kind: adam, betas: [true, 0.9]", "optimizer.betas must be a list of numbers, got [True, 0.9]"),
        ("epochs: 1", "epochs: 1, clip: no, patience: true", "training.patience must be a number, got True"),
        ("epochs: 1", f"epochs: 1, seed: {2**63}", "training.seed must be less than 9223372036854775808"),
        ("epochs: 1", "epochs: 1, output_precision: float16", "training.output_precision must be 'float32' or 'bfloat"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_rule_and_value(before: str, after: str, expected: str) -> None:
    assert before in TEXT
    (line,) = mistakes(TEXT.replace(before, after))
    number = next(index for index, text in enumerate(TEXT.splitlines(), 1) if before in text)
    assert line.startswith(f"mine.yaml:{number}: {expected}")


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        ("source: {kind: restarts}", "gradient.source.kind restarts needs schedule.kind to be restarts, got constant"),
        ("source: {kind: alternate, every: 1}", "gradient.source.every must be below training.epochs, 1, or nothing"),
        ("source: {kind: alternate, every: 0.5, unit: updates}", "gradient.source.every must be a whole number of up"),
        ("source: {kind: ramp, start: 1, stop: 2}", "gradient.source.start must be below training.epochs, 1, or noth"),
        ("real_window: 10", "gradient.real_window is for real gradients, and gradient.source says there are none"),
        ("source: {share: 0}, ground_every: 2, ground_window: 9", "gradient.ground_window is for synthetic gradients"),
        ("source: {share: 0}, real_window: 25", "gradient.real_window must be at most training.span, 20, got 25"),
        ("ground_every: 2, ground_window: 21", "gradient.ground_window must be at most training.span, 20, got 21"),
        ("true_share: 0", "gradient.true_share must be greater than 0, got 0"),
        ("true_share: 0.5, source: {share: 0.5}", "gradient.true_share corrects synthetic gradients in every span: re"),
        ("true_share: 0.5, ground_every: 2, ground_window: 9", "gradient.true_share corrects synthetic gradients in e"),
        # of the library's constructors
        ("source: {kind: ramp, start: 0.9, stop: 0.5}", "gradient.source.stop must be above start, 0.9, got 0.5"),
        ("source: {share: 0}, real_window: 7", "gradient.real_window must be a multiple of the window, 5 steps, got 7"),
        ("ground_every: 2", "gradient.ground_every and ground_window go together: give both or neither"),
        ("ground_every: 2, ground_window: 4", "gradient.ground_window must be at least the window, 5 steps, got 4"),
        ("low_memory: true, parallel: true", "gradient.low_memory must be False where parallel is True, which runs"),
        ("low_memory: true, remove_mean: true", "gradient.low_memory must be False with remove_mean, which needs all"),
        ("low_memory: true, synthesizer: {kind: adjoint}", "gradient.low_memory must be False with an AdjointSynthes"),
        ("low_memory: true, source: {share: 0.5}", "gradient.low_memory must be False where real gradients cross bou"),
        ("synthesizer: {kind: adjoint}, ground_every: 2, ground_window: 10", "gradient.ground_every and ground_window"),
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other_are_refused(gradient: str, expected: str) -> None:
    gradient = gradient.replace("{share", "{kind: constant, share")
    text = TEXT.replace(f"window: 5, synthesizer: {SYNTHESIZER}", f"window: 5, {gradient}")
    assert text != TEXT
    (line,) = mistakes(text)
    assert line.startswith(f"mine.yaml:3: {expected}")


def test_what_a_run_of_before_may_hold_is_refused_of_a_new_one() -> None:
    kinds = ({"kind": "truncated"}, {"kind": "synthetic"}, {"kind": "exact"}, {"kind": "checkpointed"})
    for gradient in kinds:
        changed = {"gradient": {**gradient, "window": 21}, "training.seed": 2**32 - 2}
        before = parse_recipe(TEXT, "mine.yaml", None, changed)
        with pytest.raises(InputError) as refused:
            load_recipe(before)
        assert [line.removeprefix("the recipe: ") for line in str(refused.value).splitlines()] == [
            "gradient.window must be at most training.span, 20, with which a window ends, got 21",
            "training.seed must be below 4294967294, of which a CPU takes 32 bits, and the last two are for what tasks "
            "are scored on, got 4294967294",
        ]
        fits = {"training": {"seed": 2**32 - 3, "span": 21}}
        assert load_recipe(before, fits) == parse_recipe(TEXT, "mine.yaml", None, {**changed, **fits})
    overlapping = text_recipe("--gradient.kind=truncated", "--gradient.window=30", "--gradient.every=20")
    assert load_recipe(overlapping) == overlapping
    varying = text_recipe("--gradient.window=30", "--training.varying_span={}")
    assert load_recipe(varying) == varying, "some spans are longer"
    episodes = task_recipe("--gradient.window=30")
    assert load_recipe(episodes) == episodes, "of any length"


def test_shares_of_a_text_that_is_not_cut_are_refused_of_a_new_run() -> None:
    split = {"data": {"corpus": "text", "train": "a", "valid_fraction": 0.2, "test_fraction": 0.3}}
    cut = "which is not cut where"
    for changed, messages in (
        ({}, []),
        ({"data.valid": "b", "data.valid_fraction": 0.05, "data.test_fraction": 0}, []),
        (
            {"data.corpus": "ptb", "data.train": None},
            [f"data.{name}_fraction is for corpus text, not ptb: remove it" for name in ("valid", "test")],
        ),
        (
            {"data.valid": "b"},
            [f"data.{name}_fraction is a share of data.train, {cut} data.valid is a file: remove one"
             for name in ("valid", "test")],
        ),
        ({"data.test": "b"}, [f"data.test_fraction is a share of data.train, {cut} data.test is a file: remove one"]),
    ):  # fmt: skip
        before = parse_recipe(TEXT, "mine.yaml", None, split | changed)
        if not messages:
            assert load_recipe(before) == before
            continue
        with pytest.raises(InputError) as refused:
            load_recipe(before)
        assert str(refused.value).splitlines() == [f"the recipe: {message}" for message in messages]


def test_windows_of_truncation_run_one_by_one_or_all_at_once() -> None:
    options = ("--gradient.kind=truncated", "--gradient.parallel=true", "--gradient.low_memory=true")
    (line,) = mistakes(TEXT, *options)
    assert line.startswith("command line: gradient.low_memory must be False where parallel is True")


def test_a_share_of_true_gradients_is_refused_where_rows_cannot_be_run_again() -> None:
    (line,) = mistakes(TEXT, "--gradient.true_share=0.25", "--model.dropout=0.2")
    assert line == (
        "command line: model.dropout must be 0 for gradient.true_share, which runs rows again and would draw other "
        "masks, got 0.2"
    )
    interface = "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]"
    (line,) = mistakes(TEXT, "--gradient.true_share=0.25", interface)
    assert line == (
        "command line: model.slower_levels.0.interface must be false for gradient.true_share, which sends messages "
        "of drawn rows again, got true"
    )


def test_all_contradictions_are_reported_at_once() -> None:
    text = TEXT.replace("window: 5", "window: 5, source: {kind: restarts}, real_window: 21, ground_window: 4")
    text = text.replace("epochs: 1", "epochs: 1, max_updates: 9") + "schedule: {kind: restarts, period: 1}"
    assert [line.split(" must ")[0] for line in mistakes(text, "--gradient.ground_every=2")] == [
        "mine.yaml:6: schedule.period",
        "mine.yaml:3: gradient.real_window",
        "mine.yaml:3: gradient.real_window",
        "mine.yaml:3: gradient.ground_window",
    ]
    late = TEXT.replace("window: 5", "window: 5, source: {kind: alternate, every: 9, unit: updates}")
    (line,) = mistakes(late.replace("epochs: 1", "epochs: 1, max_updates: 9"))
    assert line.startswith("mine.yaml:3: gradient.source.every must be below training.max_updates, 9, or nothing ever")


def test_gradients_that_come_late_are_for_spans_of_one_window_that_can_run_again() -> None:
    late = TEXT.replace("window: 5", "window: 5, delay: 8")
    options = ("--model.dropout=0.5", "--training.span=10", "--gradient.trace_decay=0.5", "--gradient.real_window=10")
    lines = mistakes(late, *options, "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]")
    of_no_use = "is of no use with gradient.delay, with which a span is one window and nothing is run ahead: remove one"
    assert lines == [
        "command line: gradient.real_window is for real gradients, and gradient.source says there are none: remove it",
        "command line: training.span must be gradient.window, 5, with gradient.delay, or null, got 10",
        "command line: model.dropout must be 0 with gradient.delay, which runs windows again and would draw other "
        "masks, got 0.5",
        "command line: model.slower_levels.0.interface must be false with gradient.delay, got true",
        f"command line: gradient.real_window {of_no_use}",
        f"command line: gradient.trace_decay {of_no_use}",
    ]
    (line,) = mistakes(late, "--training.span=null", "--gradient.ahead=targets")
    assert line.endswith("must be model or null with gradient.delay, which waits for the steps ahead, got targets")
    for field in ("run_ahead=2", "low_memory=true", "true_share=0.5"):
        (line,) = mistakes(late, "--training.span=null", f"--gradient.{field}")
        assert line == f"command line: gradient.{field.split('=')[0]} {of_no_use}"


def test_the_widest_deviation_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgrnn.data.varying_spans.WIDEST", 3)
    (line,) = mistakes(TEXT, "--training.varying_span={deviation: 31}", "--training.span=10")
    assert line.endswith("training.varying_span.deviation must be at most 3 times training.span, 10, got 31")


def test_spans_that_vary_are_of_a_text_and_of_an_estimator_that_takes_any_length() -> None:
    vary = "--training.varying_span={}"
    assert text_recipe(vary).training.varying_span is not None
    (line,) = mistakes(TEXT, vary, "--training.span=4", "--gradient.window=2")
    assert line == "command line: training.varying_span.least must be at most training.span, 4, got 5"
    (line,) = mistakes(TEXT, "--training.varying_span={deviation: 1e9}", "--training.span=10")
    assert line.endswith("training.varying_span.deviation must be at most 100 times training.span, 10, got 1e+09")
    (line,) = mistakes(TEXT, vary, "--gradient.kind=truncated", "--gradient.window=30", "--gradient.every=20")
    assert line.endswith("training.varying_span must be null with gradient.every, which wants spans of one length")
    (line,) = mistakes(TEXT, vary, "--training.span=5", "--gradient.delay=8")
    assert line.endswith("training.varying_span must be null with gradient.delay, which wants spans of one length")
    (line,) = mistakes(TASK, vary)
    assert line.endswith("training.varying_span is for a text, and says nothing of a task: remove it")


def test_windows_that_overlap_fit_their_spans() -> None:
    gradient, fits = ("--gradient.kind=truncated", "--gradient.window=8", "--gradient.every=5"), "--training.span=5"
    for overrides, expected in [
        ((), "training.span must be gradient.every, 5, the steps between two updates, got 20"),
        ((fits, "--gradient.window=4"), "gradient.every must be at most window, 4 steps, or some had no gradient, got"),
        ((fits, "--gradient.parallel=true"), "gradient.parallel must not be True with every: there is one window"),
        ((fits, "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]"),
         "model.slower_levels.0.interface must be false with gradient.every, which sends each message again and"),
    ]:  # fmt: skip
        (line,) = mistakes(TEXT, *gradient, *overrides)
        assert expected in line
    (line,) = mistakes(TASK, *gradient)
    assert line.endswith("the steps between two updates, got a whole episode")


@pytest.mark.parametrize("kind", ["exact", "rtrl"])
def test_what_runs_the_model_again_has_no_dropout_and_online_no_interfaces(kind: str) -> None:
    interface = "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]"
    lines = mistakes(TEXT, f"--gradient.kind={kind}", "--model.dropout=0.5", interface)
    assert lines[0] == (
        f"command line: model.dropout must be 0 for gradient.kind {kind}, which runs the model again and would draw "
        f"other masks{' unless model.locked_dropout is true' if kind == 'exact' else ''}, got 0.5"
    )
    assert len(lines) == 1 + (kind == "rtrl")
    assert kind == "exact" or lines[1].startswith("command line: model.slower_levels.0.interface must be false for ")


def test_masks_of_a_span_are_refused_where_its_rows_or_steps_run_apart_and_not_where_they_run_again() -> None:
    regularized = ("--model.dropout=0.5", "--model.locked_dropout=true", "--model.weight_dropout=0.3")
    text_recipe("--gradient.kind=exact", *regularized)
    for options, kind in (
        (("--gradient.kind=rtrl",), "for gradient.kind rtrl"),
        (("--gradient.true_share=0.5",), "for gradient.true_share"),
        (("--gradient.delay=5", "--training.span=null"), "with gradient.delay"),
    ):
        lines = mistakes(TEXT, *options, *regularized)
        assert [line.split(",")[0] for line in lines] == [
            f"command line: model.{name} must be 0 {kind}" for name in ("dropout", "weight_dropout")
        ]


@pytest.mark.parametrize(
    "value", ["2001-13-45", "!!int x", "!!float x", "!!bool x", "!!int 0o9", "9" * 5_000, "[" * 3_000]
)
def test_a_value_of_which_yaml_can_make_nothing_is_refused_in_a_file_and_on_the_command_line(value: str) -> None:
    (line,) = mistakes(TEXT.replace("epochs: 1", f"epochs: {value}"))
    assert line.startswith("mine.yaml: not valid YAML: ")
    assert mistakes(TEXT, f"--training.epochs={value}") == [
        f"command line: --training.epochs: not a YAML value: {value!r}"
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--gradient.windw=7", "gradient.windw is not a field; did you mean gradient.window?"),
        ("--gradint.window=7", "gradint is not a field; did you mean gradient?"),
        ("--model.seed=3", "model.seed is not a field; expected one of activation_regularization, adaptive_softmax, "),
        ("--gradient.window=x", "gradient.window must be a valid integer"),
        ("--gradient.synthesizer.rank=4", "gradient.synthesizer.rank is not a field of kind mlp; expected one of "),
        ("--gradient.real_window=21", "gradient.real_window must be at most training.span, 20, got 21"),
        ("--training.epochs.x=1", "--training.epochs.x: epochs is no section but 1"),
        ("--gradient.window", "--gradient.window needs a value, like --gradient.window=5"),
        ("--gradient.window=[", "--gradient.window: not a YAML value: '['"),
        ("--training.epochs=3 # epochs", "--training.epochs: '# epochs' of '3 # epochs' is a comment in YAML, and wou"),
        ("--gradient.source={kind: random} # by", "--gradient.source: '# by' of '{kind: random} # by' is a comment"),
        (b"--sample.prompt=caf\xe9".decode(errors="surrogateescape"), "--sample.prompt must be UTF-8 text, got 'caf"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_blamed_on_the_command_line(override: str, expected: str) -> None:
    assert mistakes(TEXT, override)[0].startswith(f"command line: {expected}")


def test_an_option_is_not_taken_for_the_value_of_the_one_before() -> None:
    assert mistakes(TEXT, "--sample.prompt", "--training.epochs=3") == [
        "command line: --sample.prompt needs a value, like --sample.prompt=5, got '--training.epochs=3' after it; if "
        "that is the value: --sample.prompt=--training.epochs=3"
    ]
    assert text_recipe("--sample.prompt=--a", "--training.epochs", "3").sample.prompt == "--a"


def test_a_path_is_no_list() -> None:
    found, *_ = mistakes("data: {corpus: text, train: [a, b]}\nmodel: {hidden_size: 8}\ngradient: {kind: bptt}")
    assert found.endswith("data.train must be a path, got ['a', 'b']")


def test_a_cycle_has_a_rise_and_a_fall() -> None:
    for share in (0, 1):
        (line,) = mistakes(TEXT, "--schedule.kind=one_cycle", f"--schedule.rise={share}")
        assert line.startswith("command line: schedule.rise must be ")


def test_a_field_in_the_wrong_section_is_guessed() -> None:
    assert mistakes(TEXT, "--model.seed=3")[0].endswith("; did you mean training.seed?")


def test_a_field_of_another_kind_is_said_to_be_one() -> None:
    assert mistakes(TEXT, "--average.kind=triggered", "--average.decay=0.5") == [
        "command line: average.decay is not a field of kind triggered; expected one of kind, non_monotone"
    ]


GUESSES: list[tuple[tuple[str, ...], str | None]] = [
    (("--seed=3",), "--training.seed=3"),
    (("--seed", "3"), "--training.seed=3"),
    (("--seed", "--gradient.window=3"), "--training.seed"),
    (("--batch-size=8",), "--training.batch_size=8"),
    (("-windw=3",), "--gradient.window=3"),
    (("gradient.window=3",), "--gradient.window=3"),
    (("--prompt=a b",), "--sample.prompt=a b"),
    (("--lr=0.1",), " or ".join(f"--{each}.learning_rate=0.1" for each in RATES)),
    (("--gradient=truncated",), "--gradient.kind=truncated"),
    (("--gradient={kind: bptt}",), None),
    (("--sample={length: 3}",), None),
    (("--zzz=1",), None),
]


def test_a_field_without_its_section_is_guessed() -> None:
    for override, meant in GUESSES:
        guess = f"; did you mean {meant}?" if meant else ""
        assert mistakes(TEXT, *override) == [
            f"command line: expected an override like --gradient.window=5, got {override[0]!r}{guess}"
        ]


def test_mistakes_in_file_and_overrides_are_reported_together() -> None:
    lines = mistakes(TEXT.replace("hidden_size: 16", "hidden_size: 0"), "--training.epochs=0", "--gradient.window=-1")
    assert [line.split(":")[0] for line in lines] == ["mine.yaml", "command line", "command line"]


def test_exactly_one_of_text_and_task_is_to_be_learned() -> None:
    message = "task: a recipe learns either a text (data) or a task (task), got"
    lines = mistakes(TASK.replace("task: {kind: copy}\n", "").replace("16", "0"))
    assert lines == [f"mine.yaml: {message} neither", "mine.yaml:1: model.hidden_size must be greater than 0, got 0"]
    assert mistakes(TASK, "--data.corpus=python-docs") == [f"mine.yaml:1: {message} both"]
    (line,) = mistakes(TASK.replace("task: {kind: copy}", "data: {corpus: ptbb}"))
    assert line.startswith("mine.yaml:1: data.corpus must be ")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("{kind: coppy}", "task.kind must be one of copy, repeat-copy, adding, recall, mnist, got 'coppy'"),
        ("{kind: copy, bitz: 3}", "task.bitz is not a field; did you mean task.bits?"),
        ("{kind: copy, threshold: 0}", "task.threshold must be greater than 0, got 0"),
        ("{kind: recall, lag: 3, tokens: 1}", "task.tokens must be greater than or equal to 2, got 1"),
        ("{kind: adding, lag: 3, steps: 3}", "task.steps must be more than the lag, 3, got 3"),
        ("{kind: mnist, episodes_per_epoch: 3}", "task.episodes_per_epoch is not a field"),
    ],
)
def test_a_wrong_task_is_refused_with_its_field(task: str, expected: str) -> None:
    (line,) = mistakes(TASK.replace("{kind: copy}", task))
    assert line.startswith(f"mine.yaml:1: {expected}")


def test_what_says_nothing_of_a_task_is_refused_when_it_is_set() -> None:
    values = {
        "model.embedding_size": "16", "model.tied": "true", "model.dropout": "0.5", "model.locked_dropout": "true",
        "model.word_dropout": "0.5", "model.temporal_activation_regularization": "1",
        "training.output_precision": "bfloat16", "sample.length": "3",
    }  # fmt: skip
    fields = [field.removesuffix(".length") for field in values]
    assert mistakes(TASK, *(f"--{field}={value}" for field, value in values.items())) == [
        f"command line: {field} is for a text, and says nothing of a task: remove it" for field in fields
    ]


def test_targets_tell_nothing_of_a_task_nor_to_a_synthesizer_that_sees_no_output_gradients() -> None:
    diagonal = "--gradient.synthesizer={kind: diagonal}"
    text_recipe(diagonal, "--gradient.ahead=targets")
    assert mistakes(TASK, diagonal, "--gradient.ahead=targets") == [
        "command line: gradient.ahead is for a text, and says nothing of a task: remove it"
    ]
    assert mistakes(TEXT, "--gradient.ahead=targets") == [
        "command line: gradient.ahead must be model for a synthesizer that sees no output gradients, a MLPSynthesizer, "
        "got targets"
    ]


def test_windows_are_compared_with_a_span_where_there_is_one() -> None:
    windows = ("--gradient.ground_every=2", "--gradient.ground_window=30", "--gradient.real_window=25")
    task_recipe(*windows, "--gradient.source.share=0.5")
    lines = mistakes(TASK, *windows, "--gradient.source.share=0.5", "--training.span=20")
    assert [line.split(" must ")[1] for line in lines] == [
        "be at most training.span, 20, got 25", "be at most training.span, 20, got 30"
    ]  # fmt: skip
