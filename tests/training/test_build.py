"""What is built is what the recipe says."""

from typing import Any

import pytest
import torch
from torch import nn

from sgrnn import cores, estimators
from sgrnn.config import Adam, AdamW, Recipe, Sgd
from sgrnn.config.build import build_estimator, build_model, build_optimizer, choose_device
from sgrnn.config.files import parse_recipe
from sgrnn.errors import InputError
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.schedules import Alternate, Bernoulli, Constant, Ramp, Schedule, WarmRestarts
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer
from sgrnn.synthesizers.lookahead import LookaheadEncoder, RecurrentLookahead

from .tiny import RECIPE


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(RECIPE, "tiny", None, overrides)


@pytest.mark.parametrize(
    ("section", "expected", "options"),
    [
        (Sgd(learning_rate=0.5), torch.optim.SGD, {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0}),
        (Sgd(learning_rate=2, momentum=0.9), torch.optim.SGD, {"lr": 2.0, "momentum": 0.9, "weight_decay": 0.0}),
        (Sgd(learning_rate=2, weight_decay=0.1), torch.optim.SGD, {"momentum": 0.0, "weight_decay": 0.1}),
        (Adam(), torch.optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.0}),
        (Adam(betas=(0.5, 0.6)), torch.optim.Adam, {"lr": 1e-3, "betas": (0.5, 0.6), "weight_decay": 0.0}),
        (AdamW(learning_rate=0.1), torch.optim.AdamW, {"lr": 0.1, "betas": (0.9, 0.999), "weight_decay": 0.01}),
    ],
)  # fmt: skip
def test_optimizers(section: Any, expected: type, options: dict[str, Any]) -> None:
    optimizer = build_optimizer(section, nn.Linear(2, 3))
    assert optimizer is not None
    assert type(optimizer) is expected
    assert optimizer.param_groups[0].items() >= options.items()


def test_every_parameter_has_one_optimizer_and_the_synthesizers_are_not_the_models() -> None:
    model = build_model(recipe(), 11)
    estimator = build_estimator(recipe(), model, 9)
    optimized = []
    for module in (model, estimator):
        optimizer = build_optimizer(recipe().optimizer, module)
        assert optimizer is not None
        optimized.append([id(p) for group in optimizer.param_groups for p in group["params"]])
        assert optimized[-1] == [id(parameter) for parameter in module.parameters()]
    assert set(optimized[0]).isdisjoint(optimized[1])


@pytest.mark.parametrize("kind", ["full", "truncated"])
def test_policies_without_parameters_have_no_optimizer(kind: str) -> None:
    chosen = recipe(f"--gradient.kind={kind}")
    assert build_optimizer(chosen.synthesizer_optimizer, build_estimator(chosen, build_model(chosen, 11), 9)) is None


def test_policies() -> None:
    model = build_model(recipe(), 11)
    assert isinstance(build_estimator(recipe("--gradient.kind=full"), model, 9), estimators.BPTT)
    truncated = build_estimator(recipe("--gradient.kind=truncated", "--gradient.parallel=true"), model, 9)
    assert isinstance(truncated, estimators.TruncatedBPTT)
    assert (truncated.window, truncated.parallel) == (3, True)
    for switched in (True, False):
        names = ("remove_mean", "remove_radial", "shrinkage", "parallel", "shuffle")
        switches = [f"--gradient.{name}={str(switched).lower()}" for name in names]
        built = build_estimator(recipe("--gradient.discount=0.9", "--gradient.trace_decay=0.3", *switches), model, 9)
        assert isinstance(built, estimators.SyntheticGradients)
        assert (built.window, built.discount, built.trace_decay) == (3, 0.9, 0.3)
        assert (built.remove_mean, built.remove_radial, built.gated, built.parallel, built.shuffle) == (switched,) * 5
        assert built.follower is not None
        assert (built.follower.rate, built.follower.every) == (0.5, 2)


def test_how_far_the_model_is_run_ahead() -> None:
    found = {}
    for ahead in ("null", "0", "1", "9"):
        chosen = recipe(f"--gradient.run_ahead={ahead}", "--gradient.synthesizer.lookahead=4")
        found[ahead] = build_estimator(chosen, build_model(chosen, 11), 9).lookahead
    assert found == {"null": 4, "0": 0, "1": 1, "9": 4}


def test_a_policy_is_by_default_as_the_library_has_it() -> None:
    model = build_model(recipe(), 11)
    plain = Recipe.model_validate(recipe().model_dump() | {"gradient": {"kind": "synthetic", "window": 7}})
    built, library = build_estimator(plain, model, 9), estimators.SyntheticGradients(7, model.synthesizer())
    for name in ("window", "discount", "remove_mean", "remove_radial", "gated", "shuffle", "lookahead"):
        assert getattr(built, name) == getattr(library, name), name
    assert (built.parallel, library.parallel) == (None, False)  # a user's own model may draw masks of its own
    assert [(name, one.shape) for name, one in built.state_dict().items()] == [
        (name, one.shape) for name, one in library.state_dict().items()
    ]
    perceptron = Recipe.model_validate(
        plain.model_dump() | {"gradient": {"kind": "synthetic", "window": 7, "synthesizer": {"kind": "mlp"}}}
    )
    library = estimators.SyntheticGradients(7, model.mlp_synthesizer())
    assert [(name, one.shape) for name, one in build_estimator(perceptron, model, 9).state_dict().items()] == [
        (name, one.shape) for name, one in library.state_dict().items()
    ]


@pytest.mark.parametrize(
    ("overrides", "schedule", "unit"),
    [
        (("--gradient.source.share=0.5",), Constant(0.5), 9),
        (("--gradient.source={kind: alternate, every: 2}",), Alternate(WarmRestarts(2)), 9),
        (("--gradient.source={kind: alternate, every: 5, growth: 2, unit: updates, first: synthetic}",),
         Alternate(WarmRestarts(5, 2), first=1.0), 1),
        (("--gradient.source={kind: restarts, first: synthetic}", "--schedule.kind=restarts", "--schedule.period=3",
          "--schedule.growth=2"),
         Alternate(WarmRestarts(3, 2), first=1.0), 9),
        (("--gradient.source={kind: ramp, stop: 2, start: 1, before: 0.1, after: 0.9, shape: cosine}",),
         Ramp(2, 1, 0.1, 0.9, "cosine"), 9),
        (("--gradient.source={kind: random, probability: 0.3, seed: 4}",), Bernoulli(0.3, 4), 1),
        (("--gradient.source.share=0.7", "--gradient.grounding={every: 4, window: 6}",), Constant(0.7), 9),
    ],
)  # fmt: skip
def test_mixed_policies(overrides: tuple[str, ...], schedule: Schedule, unit: int) -> None:
    chosen = recipe(*overrides, "--gradient.real_window=6", "--gradient.learn_always=true")
    built = build_estimator(chosen, build_model(chosen, 11), 9)
    assert isinstance(built, Mixed)
    assert (built.schedule, built.updates_per_unit) == (schedule, unit)
    assert (built.real_window, built.learn_always, built.synthetic.window) == (6, True, 3)
    grounded = (4, 6) if chosen.gradient.grounding else (None, None)  # pyright: ignore[reportAttributeAccessIssue]
    assert (built.ground_every, built.ground_window) == grounded
    assert built.lookahead == 2


def synthesizer(*overrides: str) -> ErrorSynthesizer | MLPSynthesizer:
    chosen = recipe(*(f"--gradient.synthesizer.{override}" for override in overrides))
    built = build_estimator(chosen, build_model(chosen, 11), 9)
    assert isinstance(built, estimators.SyntheticGradients)
    assert isinstance(built.synthesizer, ErrorSynthesizer | MLPSynthesizer)
    assert built.lookahead == built.synthesizer.lookahead
    return built.synthesizer


def test_an_error_synthesizer() -> None:
    built = synthesizer("lookahead=5", "hidden_size=9", "rank=6", "projection=4", "near=3")
    assert isinstance(built, ErrorSynthesizer)
    assert built.lookahead == 5
    assert built.input_projection.shape == (3, 6, 4), "of embeddings of 6 features"
    assert built.input_weight.shape == (3, 4, 9)
    assert built.gate.shape == (3, 9, 6)
    assert built.gain.shape == (3, 9, 2 * 12)
    assert built.error_projection.shape == (5, 12, 6), "of outputs of 12 features"
    assert built.last.weight.shape == (2 * 12, 5 * 6)


def test_an_adjoint_synthesizer_has_the_policys_window() -> None:
    made = []
    for options in ({"hidden_size": 9, "rank": 6, "projection": 4, "near": 2}, {}):
        estimator = {"kind": "synthetic", "window": 7, "synthesizer": {"kind": "adjoint", **options}}
        chosen = Recipe.model_validate(recipe().model_dump() | {"gradient": estimator})
        built = build_estimator(chosen, build_model(chosen, 11), 9)
        assert isinstance(built, estimators.SyntheticGradients)
        assert isinstance(built.synthesizer, AdjointSynthesizer)
        made.append(built.synthesizer)
    assert [each.lookahead for each in made] == [7, 7]
    assert [each.near for each in made] == [2, 7]
    assert made[0].input_projection.shape == (2, 6, 4)
    assert made[0].next_projection.weight.shape == (6, 2 * 12)
    assert made[0].next_gain.shape == (9, 2 * 2 * 12)


def test_a_perceptron() -> None:
    built = synthesizer("kind=mlp", "lookahead=0", "hidden_sizes=[9, 8]", "auxiliary=true")
    assert isinstance(built, MLPSynthesizer)
    assert (built.encoder, built.lookahead, built.heads) == (None, 0, 2)
    assert [layer.out_features for layer in built.hidden if isinstance(layer, nn.Linear)] == [9, 8]
    reader = synthesizer("kind=mlp", "lookahead=3", "projection=4", "own_embedding=5").encoder
    assert isinstance(reader, LookaheadEncoder)
    assert reader.weight is not None
    assert reader.weight.shape == (3, 2 * 5, 4)
    reader = synthesizer("kind=mlp", "lookahead=3", "recurrent=4").encoder
    assert isinstance(reader, RecurrentLookahead)
    assert reader.output_size == 4


@pytest.mark.parametrize(("name", "core"), [("lstm", cores.LSTM), ("gru", cores.GRU), ("rnn", cores.RNN)])
def test_models(name: str, core: type) -> None:
    torch.manual_seed(0)
    chosen = recipe(f"--model.core={name}", "--model.num_layers=2", "--model.initial_range=0.05")
    model = build_model(chosen, 11)
    assert type(model.core) is core
    assert model.embedding.weight.shape == (11, 6)
    assert model.output.weight.shape == (11, 12)
    assert 0.04 < max(float(parameter.detach().abs().max()) for parameter in model.parameters()) <= 0.05
    assert model.dropout.p == 0.2
    state = model.initial_state(3)
    hidden = state[0] if name == "lstm" else state
    assert hidden.shape == (2, 3, 12)


def test_a_tied_model_has_one_matrix_as_wide_as_the_core() -> None:
    model = build_model(recipe("--model.tied=true", "--model.embedding_size=null"), 11)
    assert model.output.weight is model.embedding.weight
    assert model.embedding.weight.shape == (11, 12)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    present = torch.cuda.is_available()
    assert choose_device("auto").type == ("cuda" if present else "cpu")
    if present:
        assert choose_device("cuda").type == "cuda"
    else:
        with pytest.raises(InputError, match=r"training\.device must be cpu or auto on this machine, got cuda"):
            choose_device("cuda")


LEVELS = "--model.slower_levels=[{period: 2, hidden_size: 5, message_size: 3}, {period: 6, hidden_size: 4}]"


@pytest.mark.parametrize(("name", "core"), [("lstm", cores.LSTM), ("gru", cores.GRU), ("rnn", cores.RNN)])
def test_a_hierarchy(name: str, core: type) -> None:
    model = build_model(recipe(f"--model.core={name}", LEVELS), 11)
    assert isinstance(model.core, cores.HierarchicalCore)
    assert (model.core.periods, model.core.input_size, model.core.hidden_size) == ((1, 2, 6), 6, 12)
    assert model.core.message_sizes == [3, 4]
    assert [type(level) for level in model.core.levels] == [core] * 3
    assert model.core.interfaces == [None, None]
    assert model.output.weight.shape == (11, 12)


@pytest.mark.parametrize("kind", ["truncated", "synthetic"])
def test_the_interfaces_of_a_hierarchy_are_trained_with_the_policy_and_saved_with_it(kind: str) -> None:
    chosen = recipe(f"--gradient.kind={kind}", "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]")
    model = build_model(chosen, 11)
    assert isinstance(model.core, cores.HierarchicalCore)
    estimator = build_estimator(chosen, model, 9)
    (interface,) = model.core.interfaces
    assert interface is not None
    assert {id(one) for one in interface.parameters()} <= {id(one) for one in estimator.parameters()}
    assert {id(one) for one in interface.parameters()}.isdisjoint(id(one) for one in model.parameters())
    assert "interfaces.0.mean_square" in estimator.state_dict()


@pytest.mark.parametrize("kind", ["truncated", "synthetic"])
@pytest.mark.parametrize(("interface", "expected"), [("false", None), ("true", False)])
def test_how_often_an_interface_is_answered_does_not_depend_on_the_rows(
    kind: str, interface: str, expected: bool | None
) -> None:
    level = f"{{period: 2, hidden_size: 5, interface: {interface}}}"
    for given, found in (("null", expected), ("true", True), ("false", False)):
        chosen = recipe(f"--gradient.kind={kind}", f"--model.slower_levels=[{level}]", f"--gradient.parallel={given}")
        estimator = build_estimator(chosen, build_model(chosen, 11), 9)
        assert isinstance(estimator, estimators.TruncatedBPTT | estimators.SyntheticGradients)
        assert estimator.parallel is found
