"""Feed-forward networks from recipes: what is built, that a run learns and resumes, and what is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from chains import taken
from torch import nn

from sgrnn import LSTM, Span
from sgrnn.analysis.comparison import estimator_name
from sgrnn.analysis.diagnosis import diagnose, has_boundaries
from sgrnn.analysis.verdict import worth
from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.files import parse_recipe, shipped_recipes
from sgrnn.config.recipe import Recipe
from sgrnn.cores.feedforward import FeedForward
from sgrnn.decoupled import Backpropagation, DecoupledGradients, NoFeedback, SyntheticFeedback
from sgrnn.errors import InputError
from sgrnn.models.readout import Readout
from sgrnn.tasks.scores import cross_entropy
from sgrnn.training import loop
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.problems.task_problem import TaskProblem
from sgrnn.training.run import Run

RECIPE = """
task: {kind: mnist, by: image}
model: {core: feedforward, hidden_size: 12, num_layers: 2}
gradient: {kind: decoupled, feedback: {kind: synthetic, told: label}}
training: {epochs: 1, max_updates: 6, batch_size: 20, device: cpu, loggers: []}
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(RECIPE, "mine.yaml", None, overrides)


def built(*overrides: str) -> tuple[Readout, DecoupledGradients]:
    read = recipe(*overrides)
    torch.manual_seed(0)
    model = Readout(FeedForward(7, read.model.hidden_size, read.model.num_layers), 12, 3, cross_entropy)
    estimator = build_estimator(read, model, updates_per_epoch=9)
    assert isinstance(estimator, DecoupledGradients)
    return model, estimator


def make_span() -> Span:
    targets = torch.cat([torch.eye(3).repeat(2, 1), torch.ones(6, 1)], dim=1)
    return Span(torch.randn(1, 6, 7, generator=torch.Generator().manual_seed(1)), targets[None])


KINDS = {
    "backprop": "Backpropagation", "none": "NoFeedback", "synthetic": "SyntheticFeedback",
    "alignment": "FeedbackAlignment", "direct": "DirectFeedbackAlignment", "kickback": "Kickback",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_feedback_is_built_at_every_interface_and_trains_the_layers(kind: str) -> None:
    model, estimator = built(f"--gradient.feedback={{kind: {kind}}}", "--model.num_layers=3")
    assert [type(one).__name__ for one in estimator.feedback] == [KINDS[kind]] * 3
    for _ in range(5):  # a synthesizer has nothing to say at first
        estimator.backward(make_span())
        taken([model])
        for one in estimator.parameters():
            nn.init.normal_(one)
    step = estimator.backward(make_span())
    assert step.state == ()
    moved = [any(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())
             for layer in [*model.core.layers, model.output]]  # fmt: skip  # pyright: ignore[reportGeneralTypeIssues]
    assert moved == [kind != "none"] * 3 + [True]
    assert list(step.metrics) == [f"interface_{n}_{name}" for n in (1, 2, 3) for name in ("target_r2", "shrinkage")
                                  if kind == "synthetic"]  # fmt: skip


def test_with_back_propagation_gradients_and_loss_are_those_of_the_model() -> None:
    model, estimator = built("--gradient.feedback={kind: backprop}")
    model.double()
    span = make_span()
    span = Span(span.inputs.double(), span.targets.double())
    step = estimator.backward(span)
    found = taken([model])
    loss = model.loss(model(span.inputs)[0], span.targets).mean()
    loss.backward()
    torch.testing.assert_close(found, taken([model]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(step.loss, loss.detach())


def test_what_a_synthesizer_is_told_and_its_layers_are_the_recipes() -> None:
    for told, known in (("nothing", 0), ("label", 4), ("error", 3)):
        _, estimator = built(
            f"--gradient.feedback={{kind: synthetic, told: {told}, hidden_sizes: [5], shrinkage: true}}"
        )
        for one in estimator.feedback:
            assert isinstance(one, SyntheticFeedback)
            assert one.interface.predictor.shrinks
            synthesizer: Any = one.interface.predictor.synthesizer
            assert (one.told, synthesizer.known_size, synthesizer.last.in_features) == (told, known, 5)


def test_layers_have_their_turns_by_torchs_generator_and_inputs_are_predicted_where_asked() -> None:
    _, estimator = built("--gradient.update_probability=0.25", "--gradient.synthetic_inputs=true")
    assert estimator.update_probability == 0.25
    assert estimator.input_synthesizers is not None
    assert len(estimator.input_synthesizers) == 2
    model, turns = estimator.model, []
    torch.manual_seed(3)
    for _ in range(100):
        taken([model])
        estimator.backward(make_span())
        turns.append([layer.grad is not None for layer in (model.output.weight, model.core.layers[0][0].weight)])  # pyright: ignore
    torch.manual_seed(3)
    expected = [(torch.rand(3) < 0.25)[[2, 0]].tolist() for _ in range(100)]
    assert turns == expected


@pytest.mark.parametrize("told", ["label", "error"])
def test_a_run_learns_logs_its_interfaces_and_resumes_to_the_same_end(
    tmp_path: Path, stand_ins: Path, told: str
) -> None:
    overrides = (f"--gradient.feedback.told={told}", "--gradient.update_probability=0.8",
                 "--gradient.synthetic_inputs=true", "--training.log_every=2")  # fmt: skip
    whole = Run.create(tmp_path / "whole", recipe(*overrides), None)
    loop.train(whole, TaskProblem(whole.recipe, stand_ins), lambda record: None)
    parts = Run.create(tmp_path / "parts", recipe(*overrides), None)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(loop.Interrupted):
        loop.train(parts, TaskProblem(parts.recipe, stand_ins), lambda record: None, stop)
    loop.train(parts, TaskProblem(parts.recipe, stand_ins), lambda record: None)
    weights = [(run.checkpoints / "update-000000006" / "model.safetensors").read_bytes() for run in (whole, parts)]
    assert weights[0] == weights[1]
    record = next(record for record in whole.records() if "loss" in record)
    assert {"interface_1_target_r2", "interface_2_shrinkage"} <= record.keys()
    latest = latest_checkpoint(whole.checkpoints)
    assert latest is not None
    assert latest.progress["update"] == 6
    last = [record for record in whole.records() if "valid_loss" in record][-1]
    assert 0 <= last["valid_accuracy"] <= 1
    assert worth(whole, None).startswith("decoupled gradients cross layers and not steps")
    assert not has_boundaries(whole)
    with pytest.raises(InputError, match=r"gradient.kind decoupled has no boundaries"):
        diagnose(whole, stand_ins, horizon=2, spans=2)


def test_the_recipes_of_the_papers_are_there() -> None:
    shipped = {name: parse_recipe(text, name) for name, text in shipped_recipes().items() if name.startswith("mnist-")}
    kinds = {name: one.gradient.kind for name, one in shipped.items()}
    assert kinds == {"mnist-row-synthetic": "synthetic"} | dict.fromkeys(
        ("mnist-backprop", "mnist-cdni", "mnist-dni", "mnist-unlocked"), "decoupled"
    )
    for name, one in shipped.items():
        if kinds[name] == "decoupled":
            assert (one.model.num_layers, one.model.hidden_size, one.training.batch_size) == (2, 256, 250)


def test_runs_are_told_apart_by_their_feedback(tmp_path: Path) -> None:
    names = {
        ("--gradient.feedback={kind: backprop}",): "decoupled, backprop",
        ("--gradient.feedback.told=nothing",): "decoupled, DNI",
        ("--gradient.synthetic_inputs=true",): "decoupled, cDNI and unlocked",
        ("--gradient.feedback.told=error",): "decoupled, told the error",
    }
    assert {fields: estimator_name(Run(tmp_path, recipe(*fields), None)) for fields in names} == names


REFUSED = [
    (("--model.core=lstm",), "model.core must be feedforward for gradient.kind decoupled, got lstm"),
    (("--gradient.kind=bptt",), "gradient.kind must be decoupled for model.core feedforward, which carries no state "
     "from one step to the next, got bptt"),
    (("--task.by=row",),
     "task must be mnist by image for gradient.kind decoupled, which reads all in one step, got mnist by row"),
    (("--task.kind=copy",),
     "task must be mnist by image for gradient.kind decoupled, which reads all in one step, got copy"),
    (("--gradient.update_probability=0",), "gradient.update_probability must be greater than 0, got 0"),
    (("--gradient.update_probability=1.5",), "gradient.update_probability must be less than or equal to 1, got 1.5"),
    (("--gradient.update_probability=0.5", "--gradient.feedback={kind: alignment}"),
     "gradient.update_probability must be 1 for gradient.feedback.kind alignment, which waits for the next layer's "
     "gradient, got 0.5"),
    (("--gradient.feedback={kind: synthetic, told: labels}",), "gradient.feedback.told must be 'nothing', 'label' or "
     "'error', got 'labels'"),
    (("--model.slower_levels=[{period: 2, hidden_size: 3}]", "--model.num_layers=1"),
     "model.slower_levels says nothing of a feed-forward network: remove it"),
    (("--optimizer.kind=muon",), "optimizer.kind must be sgd, adam or adamw for model.core feedforward, without "
     "recurrent layers, got muon"),
    (("--training.batch_size=1",), "training.batch_size must be at least 2 for model.core feedforward, whose batch "
     "norms need it, got 1"),
    (("--model.initial_range=0.1",), "model.initial_range says nothing of a feed-forward network: remove it"),
    (("--training.core_precision=bfloat16",), "training.core_precision says nothing of a feed-forward network: remove "
     "it"),
    (("--average.kind=exponential",), "average must be null for model.core feedforward, whose batch norms know the "
     "statistics of the weights in training alone, got kind exponential"),
    (("--training.diagnosis={every: 3}",), "training.diagnosis says nothing of a feed-forward network: remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_by_name(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe(*overrides)
    assert message in str(caught.value).replace("\n", " ")


def test_an_estimator_of_another_model_or_of_several_steps_is_refused() -> None:
    model, estimator = built()
    with pytest.raises(ValueError, match=r"^span must be of one step for a feed-forward network, got 2$"):
        estimator.backward(Span(torch.zeros(2, 1, 7), torch.zeros(2, 1, 4)))
    with pytest.raises(ValueError, match=r"^mask must be None for a feed-forward network, whose rows all count"):
        estimator.backward(Span(torch.zeros(1, 2, 7), torch.zeros(1, 2, 4), mask=torch.tensor([[True, False]])))
    with pytest.raises(ValueError, match=r"^a feed-forward network has no boundaries between steps"):
        estimator.look(make_span())
    with pytest.raises(TypeError, match=r"^model must be a Readout on a FeedForward core, got a LSTM$"):
        DecoupledGradients(Readout(LSTM(2, 3), 3, 2, cross_entropy), [NoFeedback()])
    with pytest.raises(ValueError, match=r"^feedback must be one for each of the 2 interfaces, got 1$"):
        DecoupledGradients(model, [Backpropagation()])
    with pytest.raises(InputError, match=r"^gradient.kind decoupled normalizes over the rows of a process"):
        build_estimator(recipe(), model, 9, all_reduce=lambda tensor: tensor)


def test_a_feed_forward_core_reads_every_step_alone() -> None:
    core = FeedForward(3, 5, 2).eval()
    inputs = torch.randn(4, 2, 3)
    outputs, state = core(inputs, core.initial_state(2))
    assert (outputs.shape, state) == ((4, 2, 5), ())
    torch.testing.assert_close(outputs[1:2], core(inputs[1:2], state)[0])
    with pytest.raises(ValueError, match=r"^num_layers must be at least 1, got 0$"):
        FeedForward(3, 5, 0)
