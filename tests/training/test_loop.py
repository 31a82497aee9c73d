"""The training loop: the same seed gives the same run, and an interruption leaves no trace."""

from collections.abc import Callable
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.model import build_model
from sgrnn.errors import InputError
from sgrnn.state import map_state
from sgrnn.synthesizers import predictor
from sgrnn.training import loop, progress
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import best_checkpoint, latest_checkpoint
from sgrnn.training.learner import Learner
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run

from .tiny import REGULARIZED, Training, same

Start = Callable[..., Training]

STATEFUL = {
    "synthetic, dropout, plateau": (),
    "errors beyond the span, windows as a batch": (
        "--gradient.synthesizer.lookahead=9",
        "--gradient.parallel=true", "--gradient.shuffle=true",
    ),
    "perceptron, auxiliary task, windows as a batch, nothing run ahead": (
        "--gradient.synthesizer.kind=mlp",
        "--gradient.synthesizer.auxiliary=true", "--gradient.run_ahead=0", "--gradient.parallel=true",
    ),
    "constants, what lies ahead from targets": (
        "--gradient.synthesizer.kind=diagonal", "--gradient.synthesizer.rank=2", "--gradient.ahead=targets",
    ),
    "synthetic, dropout, windows one by one": (
        "--gradient.synthesizer.lookahead=4", "--gradient.low_memory=true",
    ),
    "learning in one of three updates": (
        "--gradient.learn_every=3",
    ),
    "by turns, at restarts": (
        "--gradient.source.kind=restarts", "--schedule.kind=restarts", "--schedule.period=0.4", "--schedule.growth=1.5",
    ),
    "by chance, grounded": (
        "--gradient.source={kind: random, probability: 0.6}", "--gradient.ground_every=2", "--gradient.ground_window=6",
    ),
    "ramp": (
        "--gradient.source={kind: ramp, start: 2, stop: 8, unit: updates}",
    ),
    "gradients that come late": (
        "--gradient.delay=5", "--training.span=null", "--model.dropout=0",
        "--training.diagnosis={every: 4, horizon: 3, spans: 4}",
    ),
    "truncated, SGD with momentum, step decay": (
        "--gradient.kind=truncated", "--optimizer.kind=sgd", "--optimizer.momentum=0.9", "--schedule.kind=step",
    ),
    "full, AdamW, cosine, GRU": (
        "--gradient.kind=bptt", "--optimizer.kind=adamw", "--schedule.kind=cosine", "--model.core=gru",
    ),
    "spans of varying length, diagnosed": (
        "--training.varying_span={deviation: 2, least: 3}", "--training.diagnosis={every: 4, horizon: 4, spans: 4}",
    ),
    "spans of varying length, what is ahead at the adjoint, windows as a batch": (
        "--training.varying_span={deviation: 2, least: 3}", "--gradient.synthesizer.kind=adjoint",
        "--gradient.parallel=true",
    ),
    "NT-ASGD over spans of varying length, adaptive softmax": (
        "--optimizer.kind=sgd", "--optimizer.learning_rate=9", "--optimizer.weight_decay=1e-6", "--training.clip=null",
        "--average.kind=triggered", "--average.non_monotone=0", "--training.varying_span={deviation: 2, least: 3}",
        "--model.adaptive_softmax={cutoffs: [4, 7], div_value: 2}", "--gradient.ahead=null",
        "--training.max_updates=24",
    ),
    "Muon, two layers, cosine": (
        "--optimizer.kind=muon", "--optimizer.weight_decay=0.1", "--schedule.kind=cosine", "--model.num_layers=2",
    ),
    "truncated, SGD, one cycle over two epochs": (
        "--gradient.kind=truncated", "--optimizer.kind=sgd", "--schedule.kind=one_cycle", "--training.epochs=2",
    ),
    "a hierarchy with an interface": (
        "--model.slower_levels=[{period: 4, hidden_size: 5, interface: true}, {period: 5, hidden_size: 4}]",
    ),
    "all regularization, windows as a batch": (*REGULARIZED, "--gradient.parallel=true"),
    "all regularization, windows one by one, lines": (*REGULARIZED, "--gradient.low_memory=true", "--data.reset=line"),
    "a state that is reset at every line": (
        "--data.reset=line",
    ),
    "linear, two layers of RNN": (
        "--gradient.synthesizer.kind=mlp", "--gradient.synthesizer.hidden_sizes=[]",
        "--model.core=rnn", "--model.num_layers=2",
    ),
}  # fmt: skip


def diverging(training: Training) -> str:
    with pytest.raises(InputError) as error:
        training()
    return str(error.value)


def test_the_same_seed_gives_the_same_run_bit_for_bit_and_another_does_not(start: Start, whole: Training) -> None:
    again, other = start("again"), start("other", "--training.seed=1", "--training.max_updates=3")
    torch.rand(7)  # whatever the caller does to the random generator
    again()
    other()
    assert again.metrics == whole.metrics
    assert same(again.saved, whole.saved)
    assert other.metrics[0]["loss"] != whole.metrics[0]["loss"]


def test_what_is_logged_is_the_mean_loss_of_the_updates_since_the_last_line(start: Start) -> None:
    options = ("--model.dropout=0", "--optimizer.learning_rate=1e-30")
    each, thirds = start("each", *options, "--training.log_every=1"), start("thirds", *options)
    each()
    thirds()
    problem = each.problem
    torch.manual_seed(0)
    model = problem.build_model()
    state, losses = model.initial_state(4), []
    problem.start(0)
    for _ in range(9):
        span = problem.draw()
        outputs, state = model(span.inputs, state)
        losses.append(float(model.loss(outputs, span.targets).detach().mean()))
    found = [record["loss"] for record in each.metrics if "loss" in record]
    assert found[:9] == pytest.approx(losses, rel=1e-5)
    found = [record["loss"] for record in thirds.metrics if "loss" in record]
    assert found[:3] == pytest.approx([sum(losses[first : first + 3]) / 3 for first in (0, 3, 6)], rel=1e-5)


def test_the_clock_stands_still_but_for_training(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def taking(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any, **options: Any) -> Any:
            nonlocal now
            now += seconds
            return function(*arguments, **options)

        return slow

    monkeypatch.setattr(progress, "perf_counter", lambda: now)
    monkeypatch.setattr(loop, "passing_metrics", taking(100, loop.passing_metrics))
    monkeypatch.setattr(loop, "save_checkpoint", taking(1000, loop.save_checkpoint))
    monkeypatch.setattr(TextProblem, "score", taking(10_000, TextProblem.score))
    monkeypatch.setattr(Learner, "learn", taking(0.5, Learner.learn))
    diagnosis = "--training.diagnosis={every: 2, horizon: 4, spans: 2}"
    training = start("run", diagnosis, "--training.checkpoint_every=2", "--training.evaluate_every=4")
    training(5)
    training()
    records = list(training.run.records())
    assert {record["update"] for record in records} == {2, 3, 4, 6, 8, 9, 10}
    assert [record["seconds"] for record in records] == [record["update"] / 2 for record in records]
    assert {record["updates_per_second"] for record in records if "loss" in record} == {2.0}


@pytest.mark.parametrize(("place", "name"), list(enumerate(STATEFUL)))
def test_ten_updates_equal_some_a_save_and_the_rest(
    start: Start, monkeypatch: pytest.MonkeyPatch, place: int, name: str
) -> None:
    monkeypatch.setattr(predictor, "FIRST", 2)
    overrides, stop_after = STATEFUL[name], (2, 5, 9)[place % 3]  # early, inside an epoch, at the end of one
    whole, parts = start("whole", *overrides), start("parts", *overrides)
    whole()
    parts(stop_after)
    assert parts.latest == stop_after
    torch.rand(7)
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)


def test_a_spans_length_scales_the_rate_of_its_update(start: Start) -> None:
    training = start(
        "run", "--gradient.kind=bptt", "--optimizer.kind=sgd", "--optimizer.learning_rate=0.5", "--training.clip=null",
        "--model.dropout=0", "--training.varying_span={deviation: 2, least: 3}", "--schedule.kind=constant",
    )  # fmt: skip
    training()
    problem = training.problem
    torch.manual_seed(0)
    model = problem.build_model()
    problem.start(0)
    state, lengths = model.initial_state(4), set[int]()
    for _ in range(10):
        span = problem.draw()
        if span.is_first is not None:
            state = model.initial_state(4)
        outputs, state = model(span.inputs, map_state(torch.Tensor.detach, state))
        gradients = torch.autograd.grad(model.loss(outputs, span.targets).mean(), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.5 * span.steps / 6 * gradient
        lengths.add(span.steps)
    assert len(lengths) > 3
    kept = load_file(training.run.checkpoints / "update-000000010" / "model.safetensors")
    for name, parameter in model.state_dict().items():
        assert torch.allclose(kept[name], parameter, rtol=1e-4, atol=1e-6), name
    assert {record["learning_rate"] for record in training.metrics if "loss" in record} == {0.5}


def test_weight_decay_shrinks_the_model_and_no_synthesizer(start: Start) -> None:
    interface = "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]"
    options = (interface, "--optimizer.kind=sgd", "--optimizer.learning_rate=1e-9", "--training.max_updates=1")
    plain, decayed = start("plain", *options), start("decayed", *options, "--optimizer.weight_decay=1e7")
    plain()
    decayed()
    kept, shrunk = (load_file(next(run.run.checkpoints.iterdir()) / "model.safetensors") for run in (plain, decayed))
    for name, tensor in kept.items():
        assert torch.allclose(shrunk[name], 0.99 * tensor, rtol=1e-4, atol=1e-7), name
    assert same(decayed.saved["state"]["estimator"], plain.saved["state"]["estimator"])


def test_an_interface_is_logged_by_the_level_it_leads_up_to(start: Start) -> None:
    level = 2
    levels = "[{period: 2, hidden_size: 5}, {period: 3, hidden_size: 5, interface: true}]"
    training = start(
        "run", f"--model.slower_levels={levels}", "--gradient.kind=truncated", "--gradient.window=6",
        "--training.log_every=2",
    )  # fmt: skip
    training()
    rows = [record for record in training.metrics if "loss" in record]
    names = {f"interface_{level}_target_r2", f"interface_{level}_shrinkage"}
    assert all({name for name in row if name.startswith("interface")} == names for row in rows)
    saved = training.saved["state"]["estimator"]
    dot, square, power = (saved[f"interfaces.0.predictor.shrinkage.{name}"] for name in ("dot", "square", "power"))
    assert power > 0
    assert rows[-1][f"interface_{level}_target_r2"] == float((2 * dot - square) / power)
    assert rows[-1][f"interface_{level}_target_r2"] != rows[-2][f"interface_{level}_target_r2"]


def test_the_source_changes_at_the_very_update_at_which_the_learning_rate_restarts(start: Start) -> None:
    training = start(
        "turns", "--gradient.source.kind=restarts", "--schedule.kind=restarts", "--schedule.period=0.3",
        "--schedule.growth=2", "--training.log_every=1", "--training.max_updates=27",
    )  # fmt: skip
    training()
    rows = [row for row in training.metrics if "learning_rate" in row]
    changed = [one["update"] for one, other in pairwise(rows) if one["share"] != other["share"]]
    restarted = [one["update"] for one, other in pairwise(rows) if one["learning_rate"] < other["learning_rate"]]
    assert changed == restarted
    assert len(changed) >= 2
    assert all(("target_r2" in row) == (row["share"] > 0) for row in rows)


def test_any_number_of_interruptions_leave_no_trace_across_epochs_and_plateaus(start: Start) -> None:
    overrides = ("--training.max_updates=40", "--training.checkpoint_every=4", "--optimizer.learning_rate=0.3")
    whole, parts = start("whole", *overrides), start("parts", *overrides)
    whole()
    for stop_after in (3, 9, 10, 22, 31):
        parts(stop_after)
    parts()
    rates = {record["learning_rate"] for record in whole.metrics if "learning_rate" in record}
    assert len(rates) > 1, "the test means to cross a plateau"
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)


def test_what_was_logged_after_the_last_checkpoint_is_logged_once(start: Start) -> None:
    whole = start("whole", "--training.log_every=1", "--training.checkpoint_every=4")
    parts = start("parts", "--training.log_every=1", "--training.checkpoint_every=4")
    whole()

    def die() -> bool:
        if len(list(parts.run.records())) == 7:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        loop.train(parts.run, parts.problem, lambda record: None, die)
    with (parts.run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"update": 8, "los')  # cut short, as by a kill
    assert (parts.latest, len(parts.metrics)) == (4, 7)
    parts()
    assert parts.metrics == whole.metrics


EVERY = ("--training.checkpoint_every=1", "--training.log_every=1", "--training.max_updates=50")
DIVERGING = {
    "SGD without a clip": ("--optimizer.kind=sgd", "--optimizer.learning_rate=1e30", "--training.clip=null"),
    "no synthetic gradients": ("--gradient.kind=bptt", "--optimizer.kind=sgd", "--optimizer.learning_rate=1e38"),
    "parameters out of range": ("--optimizer.kind=adamw", "--optimizer.learning_rate=3e38", "--model.dropout=0"),
}


@pytest.mark.parametrize("overrides", DIVERGING.values(), ids=DIVERGING.keys())
def test_divergence_stops_with_its_update_and_field_and_spares_the_checkpoint(
    start: Start, overrides: tuple[str, ...]
) -> None:
    training = start("run", *EVERY, *overrides)
    message = diverging(training)
    update = (training.latest or 0) + 1
    assert f"at update {update}: training has diverged" in message
    assert "lower optimizer.learning_rate or training.clip" in message
    checkpoint = latest_checkpoint(training.run.checkpoints)
    assert (checkpoint is None) == (update == 1)
    if checkpoint is not None:
        model = build_model(training.run.recipe, training.files.vocabulary_size)
        checkpoint.load_model(model)
        assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_diverging_synthesizer_is_named_as_such(start: Start) -> None:
    overrides = ("--synthesizer_optimizer.kind=sgd", "--synthesizer_optimizer.learning_rate=1e30")
    message = diverging(start("run", *EVERY, *overrides, "--training.log_every=50"))
    assert "lower synthesizer_optimizer.learning_rate or training.synthesizer_clip" in message


def test_a_divergence_between_two_logs_is_dated_exactly(start: Start) -> None:
    overrides = ("--optimizer.kind=sgd", "--optimizer.learning_rate=1e30", "--training.max_updates=50")
    often = diverging(start("often", *overrides, "--training.log_every=1"))
    seldom = start("seldom", *overrides, "--training.log_every=50", "--training.epochs=1")
    assert diverging(seldom) == often
    assert seldom.latest is None


def test_evaluations_inside_an_epoch_are_logged_and_change_nothing_but_what_is_kept(start: Start) -> None:
    overrides = ("--training.max_updates=20", "--optimizer.learning_rate=0.1", "--training.patience=3")
    plain, often = start("plain", *overrides), start("often", *overrides, "--training.evaluate_every=4")
    plain()
    often(10)
    often()
    assert [record["update"] for record in often.metrics if "valid_loss" in record] == [4, 8, 9, 12, 16, 18, 20]
    assert [record for record in often.metrics if record["update"] in (9, 18, 20) or "loss" in record] == plain.metrics
    for part in ("model", "state"):
        assert same(often.saved[part], plain.saved[part])
    assert often.saved["progress"]["scores"] == plain.saved["progress"]["scores"]


OFTEN = (
    "--training.evaluate_every=5",
    "--optimizer.learning_rate=0.3",
    "--training.max_updates=50",
    "--model.dropout=0",
    "--training.seed=3",
)


def test_the_best_of_all_evaluations_is_kept_however_often_training_was_stopped(start: Start) -> None:
    whole, parts = start("whole", *OFTEN), start("parts", *OFTEN)
    whole()
    for stop_after in (7, 14, 35):
        parts(stop_after)
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)
    best = min((record for record in whole.metrics if "valid_loss" in record), key=lambda record: record["valid_loss"])
    assert best["update"] % 9, "the test means the best not to be at the end of an epoch"
    assert best["update"] < 50
    kept = best_checkpoint(whole.run.checkpoints)
    assert kept is not None
    assert kept.progress["update"] == best["update"]
    model = build_model(whole.run.recipe, whole.files.vocabulary_size)
    kept.load_model(model)
    assert whole.problem.score(model, "valid")["loss"] == best["valid_loss"]
    found = best_record(whole.run)
    assert found is not None
    assert found["valid_loss"] == best["valid_loss"]


def test_after_a_kill_the_best_evaluation_is_still_there(start: Start) -> None:
    training = start("run", *OFTEN)

    def die() -> bool:
        if (training.latest or 0) == 5:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        loop.train(training.run, training.problem, lambda record: None, die)
    kept = best_checkpoint(training.run.checkpoints)
    assert kept is not None
    assert kept.progress["best_update"] == 5


def test_of_equal_evaluations_the_first_is_the_best() -> None:
    stands = progress.Progress(update=4)
    assert stands.add_score(2.0, ends_epoch=False)
    stands.update = 9
    assert not stands.add_score(2.0, ends_epoch=True)
    assert (stands.best_update, stands.best_score, stands.scores) == (4, 2.0, [2.0])


def test_without_checkpoints_the_best_is_that_of_all_evaluations(start: Start) -> None:
    run = start("run").run
    assert best_record(run) is None
    for update, loss in ((1, 3.0), (2, 1.0), (3, 2.0)):
        run.log({"update": update, "valid_loss": loss})
    assert best_record(run) == {"update": 2, "valid_loss": 1.0}


def test_early_stopping_waits_for_its_patience_and_stays_stopped(start: Start) -> None:
    training = start("run", "--training.patience=2", "--training.max_updates=900", "--optimizer.learning_rate=0.1")
    training()
    losses = [record["valid_loss"] for record in training.metrics if "valid_loss" in record]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2 < 100
    before = training.metrics
    training()
    assert training.metrics == before


def test_only_the_latest_and_the_best_checkpoint_are_kept(start: Start) -> None:
    training = start(
        "run", "--training.max_updates=90", "--optimizer.learning_rate=0.1", "--training.checkpoint_every=4"
    )
    (training.run.checkpoints / "notes.txt").write_text("the user's own")
    (training.run.checkpoints / "update-000000004 copy").mkdir()
    training()
    losses = {record["update"]: record["valid_loss"] for record in training.metrics if "valid_loss" in record}
    best = min(losses, key=lambda update: losses[update])
    assert 0 < best < 90, "the test means the best not to be the last"
    kept = {path.name for path in training.run.checkpoints.iterdir()}
    assert kept == {f"update-{best:09d}", "update-000000090", "notes.txt", "update-000000004 copy"}
    found = best_checkpoint(training.run.checkpoints)
    assert found is not None
    assert found.progress["update"] == best
    model = build_model(training.run.recipe, training.files.vocabulary_size)
    found.load_model(model)
    assert training.problem.score(model, "valid")["loss"] == losses[best]


@pytest.mark.parametrize("clipped", ["clip", "synthesizer_clip"])
def test_clipping_the_core_leaves_the_synthesizers_step_alone_and_the_reverse(start: Start, clipped: str) -> None:
    sgd = ("--optimizer.kind=sgd", "--synthesizer_optimizer.kind=sgd", "--synthesizer_optimizer.learning_rate=1.0")
    options = ("--training.max_updates=1", *sgd)
    free = start("free", *options, "--training.clip=null", "--training.synthesizer_clip=null")
    tight = start(
        "tight", *options, "--training.clip=null", "--training.synthesizer_clip=null", f"--training.{clipped}=1e-3"
    )
    parameters = []
    for training in (free, tight):
        training()
        checkpoint = latest_checkpoint(training.run.checkpoints)
        assert checkpoint is not None
        model = build_model(training.run.recipe, training.files.vocabulary_size)
        estimator = build_estimator(training.run.recipe, model, 9)
        checkpoint.load_model(model)
        estimator.load_state_dict(checkpoint.load_state(torch.device("cpu"))["estimator"])
        parameters.append(([*model.parameters()], [*estimator.parameters()]))
    (model_free, synthesizer_free), (model_tight, synthesizer_tight) = parameters
    assert same(model_free, model_tight) == (clipped == "synthesizer_clip")
    assert same(synthesizer_free, synthesizer_tight) == (clipped == "clip")


def test_a_clip_bounds_the_step_and_the_norm_before_it_is_logged(start: Start) -> None:
    options = (
        "--training.max_updates=1",
        "--gradient.kind=bptt",
        "--optimizer.kind=sgd",
        "--optimizer.learning_rate=1",
    )
    before, after = (
        start("before", *options, "--optimizer.learning_rate=1e-30"),
        start("after", *options, "--training.clip=1e-2"),
    )
    models = []
    for training in (before, after):
        training()
        checkpoint = latest_checkpoint(training.run.checkpoints)
        assert checkpoint is not None
        models.append(build_model(training.run.recipe, training.files.vocabulary_size))
        checkpoint.load_model(models[-1])
    steps = [a - b for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True)]
    norm = float(torch.nn.utils.get_total_norm(steps))
    assert norm == pytest.approx(1e-2, rel=1e-4)
    assert after.metrics[0]["gradient_norm"] == before.metrics[0]["gradient_norm"] > 1e-2


@pytest.mark.parametrize(
    "options",
    [
        ("--gradient.synthesizer.kind=diagonal",),
        ("--gradient.synthesizer.kind=diagonal", "--gradient.ahead=targets"),
        ("--gradient.synthesizer.near=1", "--gradient.ahead=targets", "--gradient.run_ahead=1"),
    ],
)
def test_what_costs_next_to_nothing_learns_a_text(start: Start, options: tuple[str, ...]) -> None:
    training = start("run", *options, "--training.max_updates=60")
    training()
    losses = [record["loss"] for record in training.metrics if "loss" in record]
    assert losses[-1] < losses[0] - 0.1
    logged = [record for record in training.metrics if "loss" in record]
    assert logged[-1]["shrinkage"] > 0
    assert logged[-1]["injected_share"] > 0


def test_bfloat16_trains_close_to_float32_but_not_as_it(start: Start) -> None:
    low, high = start("low", "--training.output_precision=bfloat16"), start("high")
    low()
    high()
    losses = [[record["loss"] for record in training.metrics if "loss" in record] for training in (low, high)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert losses[0] != losses[1]
    assert all(map(isfinite, losses[0]))


def test_a_checkpoint_of_another_text_is_refused(start: Start, trained: Training, folder: Path) -> None:
    training = trained
    (folder / "valid.txt").write_text((folder / "train.txt").read_text())
    again = start("other")
    with pytest.raises(InputError, match=r"run was trained on: what it is to validate on has changed"):
        Training(training.run, again.files)()
    assert training.latest == 4


def test_a_run_whose_recipe_was_edited_is_refused(start: Start, trained: Training) -> None:
    for change, was in (
        ("--gradient.window=2", 3), ("--gradient.kind=bptt", "synthetic"), ("--model.hidden_size=13", 12),
        ("--training.span=5", 6), ("--training.batch_size=2", 4), ("--training.seed=1", 0),
        ("--optimizer.kind=sgd --optimizer.learning_rate=1", "adam"), ("--data.tokenizer.min_count=2", 1),
    ):  # fmt: skip
        recipe = start(change.partition(" ")[0], *change.split()).run.recipe
        field, value = change.partition(" ")[0][2:].split("=")
        with pytest.raises(InputError) as refused:
            Training(Run(trained.run.folder, recipe, trained.run.tokenizer), trained.files)()
        begin = f"{trained.run.folder / 'recipe.yaml'}: {field} must stay {was} in a run that goes on, got {value}: "
        assert str(refused.value).startswith(begin)
        assert "; begin a new run" in str(refused.value)
        assert "\n" not in str(refused.value)
        assert trained.run.recipe != recipe
        assert Run.open(trained.run.folder).recipe == trained.run.recipe
    assert trained.latest == 4


def test_learning_rates_may_change_and_act_from_there_on(start: Start) -> None:
    """The optimizers' saved settings must not come back with their saved means."""
    overrides = ("--synthesizer_optimizer.learning_rate=0.5", "--optimizer.weight_decay=0.3", "--training.clip=0.01")
    models = []
    for name, override in (("plain", None), *((each, each) for each in overrides)):
        training = start(name)
        training(4)
        training = Training(Run.open(training.run.folder, [override] if override else []), training.files)
        training(6)
        models.append(training.saved)
    plain, synthesizer, decay, clip = models
    assert all(plain["model"] != each["model"] for each in (decay, clip))
    weights = [each["state"]["estimator"] for each in (plain, synthesizer)]
    assert not same(*weights)


def test_a_run_may_be_made_longer(start: Start) -> None:
    longer, whole = start("run"), start("whole", "--training.max_updates=20")
    whole()
    longer(9)  # before it would evaluate at its own end
    Training(Run(longer.run.folder, whole.run.recipe, longer.run.tokenizer), longer.files)()
    assert longer.metrics == whole.metrics
    assert same(longer.saved, whole.saved)
    assert Run.open(longer.run.folder).recipe == whole.run.recipe
