"""What is built is what the recipe says."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sgrnn import cores, estimators
from sgrnn.analysis.diagnosis import diagnose
from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.model import build_model
from sgrnn.config.build.optimizer import build_optimizer, choose_device
from sgrnn.config.files import parse_recipe
from sgrnn.config.optimization import AdamConfig, AdamWConfig, MuonConfig, OptimizerConfig, SgdConfig
from sgrnn.config.recipe import Recipe
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.locked import LockedDropout, SpanDropout, WeightDropout, WordDropout
from sgrnn.errors import InputError
from sgrnn.estimators import online
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.schedules import Alternate, Bernoulli, Constant, Ramp, Schedule, WarmRestarts
from sgrnn.synthesizers import AdjointSynthesizer, DiagonalSynthesizer, ErrorSynthesizer, MLPSynthesizer
from sgrnn.training import loop
from sgrnn.training.problems.task_problem import TaskProblem
from sgrnn.training.run import Run

RECIPE = """
data: {corpus: python-docs}
model: {core: lstm, hidden_size: 12, embedding_size: 6, dropout: 0.2}
gradient: {kind: synthetic, window: 3,
  synthesizer: {kind: error, lookahead: 2, hidden_size: 8, rank: 4, projection: 3}}
optimizer: {kind: adam, learning_rate: 1e-2}
training: {epochs: 100, span: 6}
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(RECIPE, "small", None, overrides)


def estimator(*overrides: str) -> estimators.GradientEstimator:
    built = recipe(*overrides)
    return build_estimator(built, build_model(built, 11), updates_per_epoch=9)


def with_gradient(**section: Any) -> Recipe:
    return Recipe.model_validate(recipe().model_dump() | {"gradient": section})


@pytest.mark.parametrize(
    ("section", "expected", "options"),
    [
        (SgdConfig(learning_rate=2, momentum=0.9), torch.optim.SGD, {"lr": 2.0, "momentum": 0.9, "weight_decay": 0.0}),
        (AdamConfig(betas=(0.5, 0.6)), torch.optim.Adam, {"lr": 1e-3, "betas": (0.5, 0.6), "weight_decay": 0.0}),
        (AdamWConfig(learning_rate=0.1), torch.optim.AdamW, {"lr": 0.1, "betas": (0.9, 0.999), "weight_decay": 0.01}),
    ],
)  # fmt: skip
def test_optimizers(section: OptimizerConfig, expected: type, options: dict[str, Any]) -> None:
    optimizer = build_optimizer(section, nn.Linear(2, 3))
    assert optimizer is not None
    assert type(optimizer) is expected
    assert optimizer.param_groups[0].items() >= (options | {"fused": True}).items()


def test_muon_takes_recurrent_weights_by_the_recipes_settings() -> None:
    section = MuonConfig(learning_rate=0.1, momentum=0.8, betas=(0.5, 0.6), weight_decay=0.01)
    muon, adamw = build_optimizer(section, build_model(recipe(), 11)).param_groups  # pyright: ignore
    assert muon.items() >= {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}.items()
    assert adamw.items() >= {"lr": 0.1, "betas": (0.5, 0.6), "weight_decay": 0.01, "fused": True}.items()


def test_every_parameter_has_one_optimizer_and_the_synthesizers_are_not_the_models() -> None:
    model = build_model(recipe(), 11)
    optimized = []
    for module in (model, build_estimator(recipe(), model, 9)):
        optimizer = build_optimizer(recipe().optimizer, module)
        assert optimizer is not None
        optimized.append([id(p) for group in optimizer.param_groups for p in group["params"]])
        assert optimized[-1] == [id(parameter) for parameter in module.parameters()]
    assert set(optimized[0]).isdisjoint(optimized[1])
    for kind in ("bptt", "truncated"):
        assert build_optimizer(recipe().optimizer, estimator(f"--gradient.kind={kind}")) is None


def test_estimators() -> None:
    assert isinstance(estimator("--gradient.kind=bptt"), estimators.BPTT)
    truncated = estimator("--gradient.kind=truncated", "--gradient.parallel=true")
    assert isinstance(truncated, estimators.TruncatedBPTT)
    assert (truncated.window, truncated.parallel, truncated.low_memory) == (3, True, False)
    for kind in ("truncated", "synthetic"):
        built = estimator(f"--gradient.kind={kind}", "--gradient.low_memory=true")
        assert isinstance(built, estimators.TruncatedBPTT | estimators.SyntheticGradients)
        assert (built.low_memory, built.parallel) == (True, None)
    overlapping = estimator("--gradient.kind=truncated", "--gradient.window=8", "--gradient.every=6")
    assert isinstance(overlapping, estimators.TruncatedBPTT)
    assert (overlapping.window, overlapping.every, overlapping.parallel) == (8, 6, None)
    checkpointed = estimator("--gradient.kind=checkpointed")
    assert isinstance(checkpointed, estimators.Checkpointed)
    assert (checkpointed.graph_steps, checkpointed.window) == (3, None)
    exact = estimator("--gradient.kind=exact", "--gradient.lookahead=5", "--model.dropout=0")
    assert isinstance(exact, estimators.ExactAhead)
    assert (exact.window, exact.lookahead, exact.parallel) == (3, 5, None)
    for switched in (True, False):
        names = ("remove_mean", "remove_radial", "shrinkage", "parallel", "shuffle")
        switches = [f"--gradient.{name}={str(switched).lower()}" for name in names]
        built = estimator(
            "--gradient.discount=0.9", "--gradient.trace_decay=0.3", "--gradient.learn_every=6", *switches
        )  # fmt: skip
        assert isinstance(built, estimators.SyntheticGradients)
        assert (built.window, built.discount, built.trace_decay) == (3, 0.9, 0.3)
        assert built.predictor.learn_every == 6
        assert (built.remove_mean, built.remove_radial, built.predictor.shrinks, built.parallel, built.shuffle) == (
            switched,
        ) * 5


def test_what_lies_along_a_state_is_left_to_the_estimator_unless_it_is_asked_for() -> None:
    for override in ((), ("--gradient.remove_radial=null",)):
        built = estimator(*override)
        assert isinstance(built, estimators.SyntheticGradients)
        assert built.remove_radial is None


def test_how_far_the_model_is_run_ahead() -> None:
    lookaheads = {
        ahead: estimator(f"--gradient.run_ahead={ahead}", "--gradient.synthesizer.lookahead=4").lookahead
        for ahead in ("null", "0", "1", "9")
    }
    assert lookaheads == {"null": 4, "0": 0, "1": 1, "9": 4}


def test_gradients_that_come_late_make_spans_of_one_window() -> None:
    late = recipe("--gradient.delay=7", "--training.span=null", "--model.dropout=0", "--gradient.discount=0.9")
    model = build_model(late, 11)
    built = build_estimator(late, model, 9)
    assert isinstance(built, estimators.Delayed)
    assert (late.span, built.window, built.windows, built.lookahead, built.synthetic.discount) == (3, 3, 3, 0, 0.9)
    assert built.synthetic.reader.run == built.synthetic.lookahead  # what a diagnosis sees is no guess from targets
    with pytest.raises(InputError, match=r"gradient\.delay carries what it knows .* in one process, got several"):
        build_estimator(late, model, 9, all_reduce=lambda tensor: tensor)


def test_what_tells_the_output_gradients_that_the_model_is_not_run_for() -> None:
    lookahead = "--gradient.synthesizer.lookahead=4"
    for overrides, expected in (
        ((), (4, 0)),
        (("--gradient.ahead=model",), (4, 4)),
        (("--gradient.run_ahead=1",), (1, 1)),
        (("--gradient.ahead=targets",), (4, 0)),
        (("--gradient.ahead=targets", "--gradient.run_ahead=2"), (4, 2)),
        (("--gradient.ahead=targets", "--gradient.run_ahead=9"), (4, 4)),
    ):
        built = estimator(lookahead, *overrides)
        assert isinstance(built, estimators.SyntheticGradients)
        assert (built.lookahead, built.reader.run) == expected


@pytest.mark.parametrize("synthesizer", ["error", "diagonal", "adjoint", "mlp"])
def test_an_estimator_is_by_default_as_the_library_has_it(synthesizer: str) -> None:
    model = build_model(recipe(), 11)
    methods = {
        "error": model.synthesizer,
        "diagonal": model.diagonal_synthesizer,
        "adjoint": lambda: model.adjoint_synthesizer(7),
        "mlp": model.mlp_synthesizer,
    }
    library = estimators.SyntheticGradients(model, model.loss, 7, synthesizer=methods[synthesizer]())
    built = build_estimator(with_gradient(kind="synthetic", window=7, synthesizer={"kind": synthesizer}), model, 9)
    for name in ("window", "trace_decay", "discount", "remove_mean", "remove_radial", "shuffle", "lookahead"):
        assert getattr(built, name) == getattr(library, name), name
    assert isinstance(built, estimators.SyntheticGradients)
    assert built.predictor.shrinks == library.predictor.shrinks
    assert built.predictor.learn_every == library.predictor.learn_every
    assert (built.parallel, library.parallel) == (None, False)  # a user's own model may draw masks of its own
    assert [(name, one.shape) for name, one in built.state_dict().items()] == [
        (name, one.shape) for name, one in library.state_dict().items()
    ]


@pytest.mark.parametrize(
    ("overrides", "schedule", "unit"),
    [
        (("--gradient.source={kind: alternate, every: 2}",), Alternate(WarmRestarts(2)), 9),
        (("--gradient.source={kind: alternate, every: 5, growth: 2, unit: updates, first: synthetic}",),
         Alternate(WarmRestarts(5, 2), first=1.0), 1),
        (("--gradient.source={kind: restarts, first: synthetic}", "--schedule.kind=restarts", "--schedule.period=3",
          "--schedule.growth=2"),
         Alternate(WarmRestarts(3, 2), first=1.0), 9),
        (("--gradient.source={kind: ramp, stop: 2, start: 1, before: 0.1, after: 0.9, shape: cosine}",),
         Ramp(2, 1, 0.1, 0.9, "cosine"), 9),
        (("--gradient.source={kind: random, probability: 0.3, seed: 4}",), Bernoulli(0.3, 4), 1),
        (("--gradient.source.share=0.7", "--gradient.ground_every=4", "--gradient.ground_window=6"), Constant(0.7), 9),
    ],
)  # fmt: skip
def test_mixed_estimators(overrides: tuple[str, ...], schedule: Schedule, unit: int) -> None:
    built = estimator(*overrides, "--gradient.real_window=6")
    assert isinstance(built, Mixed)
    assert (built.schedule, built.updates_per_unit) == (schedule, unit)
    assert (built.real_window, built.synthetic.window, built.lookahead) == (6, 3, 2)
    grounded = (4, 6) if isinstance(schedule, Constant) else (None, None)
    assert (built.ground_every, built.ground_window) == grounded


def test_a_share_of_true_gradients_makes_a_control_variate_in_one_process_alone() -> None:
    overrides = ("--gradient.true_share=0.4", "--model.dropout=0", "--training.seed=7")
    built = estimator(*overrides)
    assert isinstance(built, estimators.ControlVariate)
    assert (built.true_share, built.seed, built.synthetic.window, built.lookahead) == (0.4, 7, 3, 2)
    shared = recipe(*overrides)
    with pytest.raises(InputError, match=r"^gradient.true_share draws rows .* trains in one process, got several$"):
        build_estimator(shared, build_model(shared, 11), 9, all_reduce=lambda tensor: tensor)


def test_synthesizers() -> None:
    def synthesizer(*overrides: str) -> nn.Module:
        built = estimator(*(f"--gradient.synthesizer.{override}" for override in overrides))
        assert isinstance(built, estimators.SyntheticGradients)
        assert built.lookahead == built.synthesizer.lookahead
        return built.synthesizer

    error = synthesizer("lookahead=5", "hidden_size=9", "rank=6", "projection=4", "near=3")
    assert isinstance(error, ErrorSynthesizer)
    assert error.lookahead == 5
    assert error.input_projection.shape == (3, 6, 4), "of embeddings of 6 features"
    assert error.input_weight.shape == (3, 4, 9)
    assert error.gate.shape == (3, 9, 6)
    small = synthesizer("near=1", "rank=8", "hidden_size=32", "projection=16")
    assert isinstance(small, ErrorSynthesizer)
    assert (small.reads, small.gate.shape, small.input_weight.shape) == (1, (1, 32, 8), (1, 16, 32))
    diagonal = synthesizer("kind=diagonal", "lookahead=5", "rank=3")
    assert isinstance(diagonal, DiagonalSynthesizer)
    assert (diagonal.lookahead, diagonal.rank, diagonal.gain.shape) == (5, 3, (5, 1, 2, 12))
    adjoint = synthesizer("kind=adjoint", "hidden_size=9", "rank=6", "projection=4", "near=2")
    assert isinstance(adjoint, AdjointSynthesizer)
    assert adjoint.lookahead == 3
    assert adjoint.input_projection.shape == (2, 6, 4)
    assert adjoint.next_gain.shape == (9, 2 * 2 * 12)
    blind = synthesizer("kind=mlp", "lookahead=0", "hidden_sizes=[9, 8]", "auxiliary=true")
    assert isinstance(blind, MLPSynthesizer)
    assert (blind.projection, blind.lookahead, blind.heads) == (None, 0, 2)
    assert [layer.out_features for layer in blind.hidden if isinstance(layer, nn.Linear)] == [9, 8]
    seeing = synthesizer("kind=mlp", "lookahead=3", "projection=4")
    assert isinstance(seeing, MLPSynthesizer)
    assert seeing.projection is not None
    assert seeing.projection.shape == (3, 6 + 12, 4)


@pytest.mark.parametrize(("name", "core"), [("lstm", cores.LSTM), ("gru", cores.GRU), ("rnn", cores.RNN)])
def test_models(name: str, core: type) -> None:
    torch.manual_seed(0)
    precisions = ("--training.output_precision=bfloat16", "--training.core_precision=bfloat16")
    chosen = recipe(f"--model.core={name}", "--model.num_layers=2", "--model.initial_range=0.05", *precisions)
    model = build_model(chosen, 11)
    assert type(model.core) is core
    assert model.core.precision == model.output_precision == torch.bfloat16
    assert model.embedding.weight.shape == (11, 6)
    assert model.output.weight.shape == (11, 12)
    assert 0.04 < max(float(parameter.detach().abs().max()) for parameter in model.parameters()) <= 0.05
    assert model.dropout.p == 0.2
    assert [module.p for module in model.core.modules() if isinstance(module, Dropout)] == [0.2]
    state = model.initial_state(3)
    hidden = state[0] if name == "lstm" else state
    assert hidden.shape == (2, 3, 12)


def test_a_tied_model_has_one_matrix_as_wide_as_the_core() -> None:
    model = build_model(recipe("--model.tied=true", "--model.embedding_size=null"), 11)
    assert model.output.weight is model.embedding.weight
    assert model.embedding.weight.shape == (11, 12)


def test_a_regularized_model_has_every_rate_in_its_place_and_a_last_layer_as_wide_as_the_tied_embedding() -> None:
    rates = {
        "embedding_dropout": 0.4, "output_dropout": 0.3, "word_dropout": 0.1, "weight_dropout": 0.5,
        "activation_regularization": 2, "temporal_activation_regularization": 1,
    }  # fmt: skip
    overrides = [f"--model.{name}={rate}" for name, rate in rates.items()]
    bfloat16 = "--training.core_precision=bfloat16"
    chosen = recipe(*overrides, "--model.num_layers=3", "--model.tied=true", "--model.locked_dropout=true", bfloat16)
    model = build_model(chosen, 11)
    assert isinstance(model.core, cores.SequentialCore)
    below, last = model.core.cores
    assert isinstance(below, cores.LSTM)
    assert isinstance(last, cores.LSTM)
    assert [below.input_size, below.hidden_size, below.num_layers, last.hidden_size] == [6, 12, 2, 6]
    assert model.output.weight is model.embedding.weight
    assert {name: (type(part), part.p) for name, part in model.named_modules() if isinstance(part, SpanDropout)} == {
        "dropout": (LockedDropout, 0.4),
        "word_dropout": (WordDropout, 0.1),
        "output_dropout": (LockedDropout, 0.3),
        "core.dropout": (LockedDropout, 0.2),
        "core.cores.0.dropout": (LockedDropout, 0.2),
        "core.cores.0.weight_dropout": (WeightDropout, 0.5),
        "core.cores.1.weight_dropout": (WeightDropout, 0.5),
    }
    assert (model.activation_regularization.activation, model.activation_regularization.temporal) == (2, 1)
    assert below.precision == last.precision == torch.bfloat16


def test_weights_are_dropped_in_every_level() -> None:
    chosen = recipe("--model.weight_dropout=0.5", "--model.slower_levels=[{period: 2, hidden_size: 5}]")
    hierarchy = build_model(chosen, 11).core
    assert [part.p for part in hierarchy.modules() if isinstance(part, WeightDropout)] == [0.5, 0.5]


def test_reading_a_recipe_leaves_the_random_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    recipe("--gradient.ground_every=2", "--gradient.ground_window=6")
    assert torch.equal(torch.get_rng_state(), before)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    present = torch.cuda.is_available()
    assert choose_device("auto").type == ("cuda" if present else "cpu")
    if present:
        assert choose_device("cuda").type == "cuda"
    else:
        with pytest.raises(InputError, match=r"training\.device must be cpu or auto on this machine, got cuda"):
            choose_device("cuda")


def test_a_hierarchy() -> None:
    levels = "--model.slower_levels=[{period: 2, hidden_size: 5, message_size: 3}, {period: 2, hidden_size: 4}]"
    model = build_model(recipe("--model.core=gru", "--training.core_precision=bfloat16", levels), 11)
    assert isinstance(model.core, cores.HierarchicalCore)
    assert (model.core.periods, model.core.input_size, model.core.hidden_size) == ((1, 2, 2), 6, 12)
    assert model.core.message_sizes == [3, 4]
    assert [type(level) for level in model.core.levels] == [cores.GRU] * 3
    assert {level.precision for level in model.core.levels} == {torch.bfloat16}
    assert model.core.interfaces == [None, None]
    assert model.output.weight.shape == (11, 12)


@pytest.mark.parametrize("kind", ["truncated", "synthetic"])
def test_an_interface_is_trained_with_the_estimator_and_answered_as_often_whatever_the_rows(kind: str) -> None:
    level = "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]"
    chosen = recipe(f"--gradient.kind={kind}", level)
    model = build_model(chosen, 11)
    assert isinstance(model.core, cores.HierarchicalCore)
    built = build_estimator(chosen, model, 9, all_reduce=torch.clone)
    (interface,) = model.core.interfaces
    assert interface is not None
    assert {id(one) for one in interface.parameters()} <= {id(one) for one in built.parameters()}
    assert {id(one) for one in interface.parameters()}.isdisjoint(id(one) for one in model.parameters())
    assert "interfaces.0.predictor.mean_square" in built.state_dict()
    assert interface.predictor.all_reduce is torch.clone
    assert not isinstance(built, estimators.SyntheticGradients) or built.predictor.all_reduce is torch.clone
    assert built.parallel is False
    assert estimator(f"--gradient.kind={kind}").parallel is None
    assert estimator(f"--gradient.kind={kind}", level, "--gradient.parallel=true").parallel is True


def test_what_windows_that_overlap_keep_is_of_one_process() -> None:
    chosen = recipe("--gradient.kind=truncated", "--gradient.window=8", "--gradient.every=6")
    with pytest.raises(InputError, match=r"^gradient\.every carries what it knows .* trains in one process"):
        build_estimator(chosen, build_model(chosen, 11), 9, all_reduce=torch.clone)


def test_interfaces_are_shared_by_processes_whose_rows_tick_at_the_same_steps() -> None:
    level = "--model.slower_levels=[{period: 3, hidden_size: 5, interface: true}]"
    for reset, is_refused in (("none", False), ("line", True), ("document", True)):
        chosen = recipe("--model.num_layers=1", "--model.dropout=0", level, f"--data.reset={reset}")
        refusal = rf"^model.slower_levels.interface with data.reset {reset} .* trains in one process, got several$"
        with pytest.raises(InputError, match=refusal) if is_refused else nullcontext():
            build_estimator(chosen, build_model(chosen, 11), 9, all_reduce=torch.clone)
        assert build_estimator(chosen, build_model(chosen, 11), 9), "one process trains by all of them"


ONLINE = {
    "rtrl": (online.RTRL, {}),
    "uoro": (online.UORO, {}),
    "snap1": (online.SnAp1, {}),
    "bp_lambda": (online.BPLambda, {"learning_rate": 0.1, "discount": 0.9, "trace_decay": 0.7, "injection_scale": 0.3}),
}


@pytest.mark.parametrize("kind", ONLINE)
def test_an_online_estimator_trains_a_run_resumes_it_and_has_no_boundaries_to_diagnose(
    tmp_path: Path, kind: str
) -> None:
    expected, options = ONLINE[kind]
    gradient = "{" + ", ".join([f"kind: {kind}", *(f"{name}: {value}" for name, value in options.items())]) + "}"
    text = f"""
task: {{kind: recall, lag: 5, tokens: 3, episodes_per_epoch: 3}}
model: {{core: rnn, hidden_size: 4}}
gradient: {gradient}
training: {{epochs: 1, max_updates: 5, batch_size: 2, span: 2, log_every: 1, device: cpu, seed: 3}}
"""
    chosen = parse_recipe(text, "small")
    problem = TaskProblem(chosen, tmp_path)
    built = build_estimator(chosen, problem.build_model(), 9)
    assert isinstance(built, expected)
    if isinstance(built, online.UORO):
        assert built.generator.initial_seed() == 3
    if isinstance(built, online.BPLambda):
        assert {name: getattr(built, name) for name in options} == options
    with pytest.raises(InputError, match=f"gradient.kind {kind} .* trains in one process, got several"):
        build_estimator(chosen, problem.build_model(), 9, all_reduce=lambda tensor: tensor)

    runs = [Run.create(tmp_path / name, chosen, None) for name in ("whole", "stopped")]
    loop.train(runs[0], problem, lambda record: None)
    updates = iter(range(1, 9))
    with pytest.raises(loop.Interrupted):
        loop.train(runs[1], TaskProblem(chosen, tmp_path), lambda record: None, lambda: next(updates) == 2)
    loop.train(runs[1], TaskProblem(chosen, tmp_path), lambda record: None)
    losses = [[record["loss"] for record in run.records() if "loss" in record] for run in runs]
    assert len(losses[0]) == 5
    assert losses[0] == losses[1], "to the bit, what is carried over the stop included"
    with pytest.raises(InputError, match=f"gradient.kind {kind} has no boundaries"):
        diagnose(runs[0], tmp_path, horizon=2, spans=4)
