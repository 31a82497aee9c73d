"""A chain: an optimizer for every module and feedback, random moments, and what it refuses."""

from functools import partial
from typing import Any

import pytest
import torch
from chains import CLASSES, HIDDEN, INPUTS, cross_entropy, make_data, make_modules
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.decoupled import (
    Backpropagation,
    Chain,
    FeedbackAlignment,
    MessageSynthesizer,
    NoFeedback,
    SyntheticFeedback,
    fully_connected,
)

SGD = partial(torch.optim.SGD, lr=0.1)


def make_synthetic() -> SyntheticFeedback:
    synthesizer = MessageSynthesizer(HIDDEN, known_size=CLASSES)
    return SyntheticFeedback(synthesizer, told="label", classes=CLASSES).double()


def test_steps_with_back_propagation_are_those_of_one_graph_and_one_optimizer() -> None:
    inputs, targets = make_data()
    alone = nn.Sequential(*make_modules(3))
    optimizer = torch.optim.Adam(alone.parameters())
    chain = Chain(make_modules(3), cross_entropy, [Backpropagation(), Backpropagation()])
    for _ in range(5):
        optimizer.zero_grad()
        loss = cross_entropy(alone(inputs), targets).mean()
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(chain.train_step(inputs, targets), loss.detach())
    for one, other in zip(chain.network.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(chain(inputs), alone(inputs))


def test_each_module_and_each_synthesizer_has_an_optimizer_of_its_own() -> None:
    chain = Chain(
        make_modules(3), cross_entropy, [make_synthetic(), NoFeedback()],
        optimizer=SGD, synthesizer_optimizer=torch.optim.Adam,
    )  # fmt: skip
    assert [type(one) for one in chain.optimizers] == [torch.optim.SGD] * 3
    assert [type(one) for one in chain.feedback_optimizers] == [torch.optim.Adam, type(None)]
    assert chain.input_optimizers == []
    for optimizer, module in zip(chain.optimizers, chain.network, strict=True):
        assert optimizer.param_groups[0]["params"] == list(module.parameters())
    assert list(chain.metrics()) == ["interface_1_target_r2", "interface_1_shrinkage"]


def test_told_the_label_a_chain_learns_what_back_propagation_learns() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, INPUTS, dtype=torch.float64)
    targets = (inputs[:, :CLASSES] * inputs[:, 1 : CLASSES + 1]).argmax(dim=1)
    losses = {}
    for name, make in (("label", make_synthetic), ("none", NoFeedback)):
        modules = [module.double() for module in fully_connected(INPUTS, HIDDEN, 3, CLASSES)]
        chain = Chain(modules, cross_entropy, [make() for _ in range(2)], optimizer=partial(torch.optim.Adam, lr=0.02))
        for _ in range(300):
            losses[name] = float(chain.train_step(inputs, targets))
    assert losses["label"] < 0.6 * losses["none"]


def test_modules_are_updated_at_random_moments_of_their_own() -> None:
    inputs, targets = make_data()
    modules = make_modules(4)
    chain = Chain(
        modules, cross_entropy, [make_synthetic() for _ in modules[1:]], optimizer=SGD, update_probability=0.3, seed=1
    )
    for one in chain.feedback:
        for parameter in one.parameters():
            nn.init.normal_(parameter)
    turns = []
    for _ in range(200):
        before = [next(module.parameters()).clone() for module in modules]
        chain.train_step(inputs, targets)
        turns.append([not torch.equal(next(m.parameters()), old) for m, old in zip(modules, before, strict=True)])
    moved = torch.tensor(turns).double()
    assert moved.mean(dim=0).sub(0.3).abs().max() < 0.1
    together = (moved.T @ moved / 200).fill_diagonal_(0.09)
    assert together.sub(0.09).abs().max() < 0.06, "independent"
    again = Chain(make_modules(4), cross_entropy, [NoFeedback()] * 3, optimizer=SGD, update_probability=0.3, seed=1)
    again.train_step(inputs, targets)
    assert (next(again.network[3].parameters()).detach() != next(make_modules(4)[3].parameters())).any() == turns[0][3]


def test_with_synthetic_inputs_all_modules_learn_and_the_network_reads_its_own_messages() -> None:
    inputs, targets = make_data()
    predictors = [nn.Linear(INPUTS, HIDDEN).double() for _ in range(2)]
    chain = Chain(make_modules(3), cross_entropy, [make_synthetic(), make_synthetic()], input_synthesizers=predictors)
    assert len(chain.feedback_optimizers) == len(chain.input_optimizers) == 2
    before = [parameter.clone() for parameter in chain.parameters()]
    for _ in range(3):
        chain.train_step(inputs, targets)
    assert all(not torch.equal(*both) for both in zip(before, chain.parameters(), strict=True))
    torch.testing.assert_close(chain(inputs), chain.network[2](chain.network[1](chain.network[0](inputs))))


UNFIT: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"modules": [nn.Linear(2, 2)], "feedback": []}, ValueError, "modules must be two or more, got 1"),
    ({"modules": [nn.Linear(2, 2), torch.relu]}, TypeError,
     "modules.1 must be a torch.nn.Module, got a builtin_function_or_method"),
    ({"modules": [nn.Linear(2, 2), nn.ReLU()]}, ValueError,
     "modules.1 must have parameters, got ReLU without any: join it to another by torch.nn.Sequential"),
    ({"feedback": []}, ValueError, "feedback must be one for each of the 1 interfaces, got 0"),
    ({"feedback": ["dni"]}, TypeError, "feedback.0 must be a Feedback, got a str"),
    ({"input_synthesizers": []}, ValueError,
     "input_synthesizers must be one for each of the 1 modules but the first, got 0"),
    ({"update_probability": 0.0}, ValueError, r"update_probability must be in \(0, 1\], got 0.0"),
    ({"update_probability": 1.5}, ValueError, r"update_probability must be in \(0, 1\], got 1.5"),
    ({"update_probability": 0.5, "feedback": [Backpropagation()]}, ValueError,
     "update_probability must be 1 for Backpropagation, which waits for the receiver's gradient, got 0.5"),
    ({"update_probability": 0.5, "feedback": [FeedbackAlignment(nn.Linear(2, 2))]}, ValueError,
     "update_probability must be 1 for FeedbackAlignment, which waits for the receiver's gradient, got 0.5"),
]  # fmt: skip


def test_what_makes_no_chain_is_refused_by_name() -> None:
    good: dict[str, Any] = {"modules": [nn.Linear(2, 2), nn.Linear(2, 2)], "feedback": [NoFeedback()]}
    for options, kind, message in UNFIT:
        with pytest.raises(kind, match=f"^{message}$"):
            Chain(**{**good, **options}, loss=cross_entropy)
    with pytest.raises(ValueError, match=r"^loss must have no parameters that learn, which nothing trains: put them"):
        Chain(**good, loss=nn.Linear(2, 1))
    Chain(**good, loss=nn.Linear(2, 1).requires_grad_(False))


def test_gradients_that_lie_there_are_no_part_of_a_step() -> None:
    inputs, targets = make_data()
    chains = []
    for looked_at in (False, True):
        chain = Chain(make_modules(), cross_entropy, [NoFeedback()] * 3, optimizer=SGD)
        if looked_at:
            cross_entropy(chain(inputs), targets).mean().backward()
        chain.train_step(inputs, targets)
        chains.append(chain.state_dict())
    assert_identical(*chains)


def test_a_module_must_return_a_tensor() -> None:
    class Paired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
            return self.layer(inputs), None

    chain = Chain([Paired(), nn.Linear(2, 2)], cross_entropy, [NoFeedback()])
    with pytest.raises(TypeError, match=r"^modules\.0 must return a tensor, got a tuple$"):
        chain.train_step(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))


def test_without_a_graph_training_is_refused_by_the_name_of_what_was_called() -> None:
    chain = Chain([nn.Linear(2, 2), nn.Linear(2, 2)], cross_entropy, [NoFeedback()])
    with torch.no_grad(), pytest.raises(ValueError, match=r"^no graph is recorded: call train_step outside of"):
        chain.train_step(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))


def test_a_fully_connected_network_has_batch_norm_and_relu_in_every_layer_but_the_last() -> None:
    modules = fully_connected(784, 256, 4, 10)
    kinds = [[type(part).__name__ for part in module.children()] for module in modules]
    assert kinds == [["Linear", "BatchNorm1d", "ReLU"]] * 3 + [[]]
    assert isinstance(modules[-1], nn.Linear)
    assert nn.Sequential(*modules)(torch.zeros(2, 784)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"^layers must be at least 2, got 1$"):
        fully_connected(1, 1, 1, 1)
