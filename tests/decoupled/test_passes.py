"""One pass of a chain: exact replies make back-propagation, and no gradient crosses an interface but by a reply."""

import pytest
import torch
from chains import HIDDEN, INPUTS, Given, cross_entropy, make_data, make_modules, messages_of, taken, true_gradients
from torch import Tensor, nn

from sgrnn.decoupled import Backpropagation, Exchange, Feedback, NoFeedback
from sgrnn.decoupled.passes import backpropagate


def differ(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("layers", [2, 3, 6])
def test_exact_replies_give_the_gradients_of_back_propagation(layers: int) -> None:
    modules, (inputs, targets) = make_modules(layers), make_data()
    expected, at_messages = true_gradients(modules, inputs, targets)
    given: list[Feedback] = [Given(lambda exchange, exact=exact: exact) for exact in at_messages[:-1]]
    for feedback in (given, [Backpropagation() for _ in modules[1:]]):
        loss = backpropagate(modules, cross_entropy, feedback, inputs, targets)
        assert differ(taken(modules), expected) < 1e-10
        assert not loss.requires_grad
        torch.testing.assert_close(loss, cross_entropy(messages_of(modules, inputs)[-1], targets).mean().detach())


def test_no_gradient_crosses_an_interface_but_by_a_reply() -> None:
    modules, (inputs, targets) = make_modules(4), make_data()
    expected, at_messages = true_gradients(modules, inputs, targets)
    inputs.requires_grad_()
    per_module = len(list(modules[0].parameters()))
    for replying in range(3):
        feedback: list[Feedback] = [NoFeedback() for _ in modules[1:]]
        exact = at_messages[replying]
        feedback[replying] = Given(lambda exchange, exact=exact: exact)
        backpropagate(modules, cross_entropy, feedback, inputs, targets)
        found = taken(modules)
        assert (inputs.grad is None) is (replying > 0)
        inputs.grad = None
        for number in range(3):
            own = slice(number * per_module, (number + 1) * per_module)
            if number == replying:
                assert differ(found[own], expected[own]) < 1e-10
            else:
                assert not any(gradient.any() for gradient in found[own])
        assert differ(found[3 * per_module :], expected[3 * per_module :]) < 1e-10


def test_a_reply_is_given_what_was_sent_and_nothing_of_it_reaches_the_receiver() -> None:
    modules, (inputs, targets) = make_modules(3), make_data()
    sent = [message.detach() for message in messages_of(modules, inputs)]
    seen: list[Exchange] = []

    def reply(exchange: Exchange) -> Tensor:
        seen.append(exchange)
        return torch.ones_like(exchange.message)

    backpropagate(modules, cross_entropy, [Given(reply), Given(reply)], inputs, targets)
    outputs = sent[-1].requires_grad_()
    cross_entropy(outputs, targets).mean().backward()
    for number, exchange in enumerate(seen):
        assert torch.equal(exchange.message, sent[number])
        assert not exchange.message.requires_grad
        assert torch.equal(exchange.received, sent[number])
        assert exchange.last is (number == 1)
        assert exchange.error is not None
        torch.testing.assert_close(exchange.error, outputs.grad)
    found = taken(modules)
    # what arrives at the lower interface is of the upper reply, ones, alone
    message = sent[0].requires_grad_()
    expected = torch.autograd.grad(modules[1](message).sum(), message)[0]
    assert seen[0].arrived is not None
    torch.testing.assert_close(seen[0].arrived, expected)
    modules[0](inputs).sum().backward()
    assert differ(found[:2], taken(modules)[:2]) < 1e-12


def test_a_module_whose_turn_it_is_not_goes_forwards_alone_and_the_feedback_below_learns_nothing() -> None:
    modules, (inputs, targets) = make_modules(4), make_data()
    learned: list[bool] = []

    class Watching(Given):
        def learn(self, exchange: Exchange) -> None:
            learned.append(exchange.arrived is not None)

    ones: list[Feedback] = [Watching(lambda exchange: torch.ones_like(exchange.message)) for _ in range(3)]
    backpropagate(modules, cross_entropy, ones, inputs, targets, turns=[True, False, True, False])
    moved = [any(p.grad is not None for p in module.parameters()) for module in modules]
    assert moved == [True, False, True, False]
    assert learned == [False, True, False]  # from the top: the fourth module, the third, the second


def test_with_synthetic_inputs_a_module_reads_predictions_which_learn_from_what_was_sent() -> None:
    modules, (inputs, targets) = make_modules(3), make_data()
    predictors: list[nn.Module] = [nn.Linear(INPUTS, HIDDEN).double() for _ in modules[1:]]
    seen: list[Exchange] = []
    given: list[Feedback] = [Given(lambda exchange: seen.append(exchange)) for _ in predictors]
    backpropagate(modules, cross_entropy, given, inputs, targets, input_synthesizers=predictors)
    found = taken(predictors)
    read = inputs
    for number, (module, predictor) in enumerate(zip(modules, predictors, strict=False)):
        message = module(read).detach()
        assert torch.equal(seen[number].message, message)
        read = predictor(inputs)
        assert torch.equal(seen[number].received, read)
        (read - message).square().mean().backward()
        read = read.detach()
    assert differ(found, taken(predictors)) < 1e-12
    torch.testing.assert_close(seen[-1].answer, modules[-1](read))


def test_modules_and_loss_may_write_into_what_they_read() -> None:
    def in_place(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs.mul_(2), targets)

    plain, (inputs, targets) = make_modules(3), make_data()
    writing: list[nn.Module] = [
        plain[0],
        *(nn.Sequential(nn.Hardtanh(-0.5, 0.5, inplace=True), each) for each in plain[1:]),
    ]
    expected: list[nn.Module] = [plain[0], *(nn.Sequential(nn.Hardtanh(-0.5, 0.5), each) for each in plain[1:])]
    cross_entropy(2 * messages_of(expected, inputs)[-1], targets).mean().backward()
    wanted = taken(expected)
    backpropagate(writing, in_place, [Backpropagation(), Backpropagation()], inputs, targets)
    assert differ(taken(writing), wanted) < 1e-12


def test_input_synthesizers_may_write_into_the_inputs_which_stay_the_callers() -> None:
    modules, (inputs, targets) = make_modules(3), make_data()
    before, found = inputs.clone(), list[list[Tensor]]()
    linear = [nn.Linear(INPUTS, HIDDEN).double() for _ in modules[1:]]
    for in_place in (False, True):
        predictors = [nn.Sequential(nn.Hardtanh(-0.5, 0.5, inplace=in_place), each) for each in linear]
        none: list[Feedback] = [NoFeedback() for _ in predictors]
        backpropagate(modules, cross_entropy, none, inputs, targets, input_synthesizers=predictors)
        found.append(taken([*modules, *linear]))
    assert torch.equal(inputs, before)
    assert differ(*found) == 0


def test_an_input_synthesizer_that_is_held_fixed_is_read_and_left_alone() -> None:
    modules, (inputs, targets) = make_modules(2), make_data()
    predictor = nn.Linear(INPUTS, HIDDEN).double().requires_grad_(False)
    backpropagate(modules, cross_entropy, [NoFeedback()], inputs, targets, input_synthesizers=[predictor])
    found = taken(modules[1:])
    cross_entropy(modules[1](predictor(inputs)), targets).mean().backward()
    assert differ(found, taken(modules[1:])) < 1e-12


def test_what_does_not_fit_is_refused_by_name() -> None:
    modules, (inputs, targets) = make_modules(3), make_data()
    none: list[Feedback] = [NoFeedback(), NoFeedback()]
    with pytest.raises(ValueError, match=r"^loss must give one number per row, \(6,\), got \(\)$"):
        backpropagate(modules, nn.CrossEntropyLoss(), none, inputs, targets)
    narrow: list[nn.Module] = [nn.Linear(INPUTS, HIDDEN).double(), nn.Linear(INPUTS, 1).double()]
    with pytest.raises(ValueError, match=r"^input_synthesizers\.1 must predict what modules\.2 is sent, \(6, 4\), got"):
        backpropagate(modules, cross_entropy, none, inputs, targets, input_synthesizers=narrow)
    modules[1] = nn.Linear(HIDDEN + 2, HIDDEN).double()
    with pytest.raises(ValueError, match=r"^modules\.1 must read what is sent to it, \(6, 4\), and does not: "):
        backpropagate(modules, cross_entropy, none, inputs, targets)
    with pytest.raises(ValueError, match=r"^modules\.0 must read what is sent to it, \(6, 5\), and does not: "):
        backpropagate(modules[1:], cross_entropy, none[1:], inputs, targets)


def test_a_module_without_place_in_memory_is_not_told_as_one_that_does_not_fit() -> None:
    class Large(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return torch.empty(2**50).sum() * super().forward(input)

    modules, (inputs, targets) = make_modules(2), make_data()
    modules[1] = Large(HIDDEN, 3).double()
    with pytest.raises(RuntimeError, match="allocate"):
        backpropagate(modules, cross_entropy, [NoFeedback()], inputs, targets)
