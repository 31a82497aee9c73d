"""Each kind of feedback against its equation, on a small network."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from chains import CLASSES, HIDDEN, ROWS, cross_entropy, make_data, make_modules, messages_of, true_gradients
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.decoupled import (
    DirectFeedbackAlignment,
    Exchange,
    Feedback,
    FeedbackAlignment,
    Kickback,
    MessageSynthesizer,
    SyntheticFeedback,
)
from sgrnn.decoupled.passes import backpropagate
from sgrnn.decoupled.synthetic import Told, label_features


def replies(feedback: Sequence[Any], modules: list[nn.Module], inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """What every feedback replies in a pass, from the lowest."""
    found: dict[int, Tensor] = {}
    for number, one in enumerate(feedback):
        original = one.reply

        def reply(exchange: Exchange, original=original, number: int = number) -> Tensor:
            found[number] = original(exchange).clone()
            return found[number]

        one.reply = reply
    backpropagate(modules, cross_entropy, feedback, inputs, targets)
    return [found[number] for number in range(len(feedback))]


def factors(modules: list[nn.Module], inputs: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Weights of the layers, their outputs, and the derivatives of tanh there."""
    weights = [next(module.parameters()).detach() for module in modules]
    sent = [message.detach() for message in messages_of(modules, inputs)]
    return weights, sent, [1 - message.square() for message in sent[:-1]]


def error_at(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.softmax(dim=1) - nn.functional.one_hot(targets, CLASSES)) / ROWS


def test_feedback_alignment_has_random_weights_in_the_place_of_the_receivers() -> None:
    modules, (inputs, targets) = make_modules(4), make_data()
    feedback = [FeedbackAlignment(module, seed).double() for seed, module in enumerate(modules[1:])]
    found = replies(feedback, modules, inputs, targets)
    _, sent, slopes = factors(modules, inputs)
    expected = error_at(sent[-1], targets) @ feedback[2].weight
    torch.testing.assert_close(found[2], expected)
    for number in (1, 0):
        expected = (expected * slopes[number + 1]) @ feedback[number].weight
        torch.testing.assert_close(found[number], expected)
    assert len({float(one.weight[0, 0]) for one in feedback}) == 3


def test_feedback_alignment_with_the_receivers_weights_is_back_propagation() -> None:
    modules, (inputs, targets) = make_modules(4), make_data()
    feedback = [FeedbackAlignment(module).double() for module in modules[1:]]
    for one, module in zip(feedback, modules[1:], strict=True):
        one.weight.copy_(next(module.parameters()).detach())
    _, expected = true_gradients(modules, inputs, targets)
    found = replies(feedback, modules, inputs, targets)
    for one, other in zip(found, expected, strict=False):
        assert float((one - other).abs().max()) < 1e-12


def test_feedback_alignment_is_refused_where_the_first_layer_reads_something_else_than_the_message() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out, self.read = nn.Linear(HIDDEN, CLASSES), nn.Linear(HIDDEN, HIDDEN)

        def forward(self, message: Tensor) -> Tensor:
            return self.out(self.read(message).tanh())

    modules, (inputs, targets) = [make_modules(2)[0], Crossed().double()], make_data()
    message = r"^receiver must read the message by the first of its layers, and out read something else: register the "
    with pytest.raises(ValueError, match=message):
        replies([FeedbackAlignment(modules[1])], modules, inputs, targets)


def test_direct_feedback_alignment_carries_the_error_straight_to_every_module() -> None:
    modules, (inputs, targets) = make_modules(4), make_data()
    feedback = [DirectFeedbackAlignment(HIDDEN, CLASSES, seed).double() for seed in range(3)]
    found = replies(feedback, modules, inputs, targets)
    error = error_at(messages_of(modules, inputs)[-1].detach(), targets)
    for one, reply in zip(feedback, found, strict=True):
        torch.testing.assert_close(reply, error @ one.weight)
    wide = DirectFeedbackAlignment(2000, CLASSES).weight
    assert wide.shape == (CLASSES, 2000)
    assert float(wide.square().mean()) == pytest.approx(1 / CLASSES, rel=0.05)


def test_kickback_sends_the_largest_error_times_the_influence_on_the_next_layer() -> None:
    modules, (inputs, targets) = make_modules(4), make_data()
    found = replies([Kickback(), Kickback(), Kickback()], modules, inputs, targets)
    weights, sent, slopes = factors(modules, inputs)
    errors = error_at(sent[-1], targets)
    right = errors.gather(1, targets[:, None])
    for number in (0, 1):
        torch.testing.assert_close(found[number], right * (slopes[number + 1] @ weights[number + 1]))
    torch.testing.assert_close(found[2], right * weights[3][targets])


def test_kickback_to_the_last_hidden_layer_is_exact_with_one_output() -> None:
    modules, (inputs, _) = make_modules(3), make_data()
    modules[-1] = nn.Linear(HIDDEN, 1).double()
    goal = torch.randn(ROWS, 1, dtype=torch.float64)

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(dim=1)

    message = modules[0](inputs).detach()
    last = modules[1](message).detach().requires_grad_()
    squared(modules[2](last), goal).mean().backward()
    found: list[Tensor] = []
    kickback = Kickback()
    original: Any = kickback.reply

    def reply(exchange: Exchange) -> Tensor:
        found.append(original(exchange))
        return found[-1]

    kickback.reply = reply
    backpropagate(modules, squared, [Kickback(), kickback], inputs, goal)
    torch.testing.assert_close(found[0], last.grad)


TOLD: list[Told] = ["nothing", "label", "error"]


def make_synthetic(told: Told, hidden: tuple[int, ...] = ()) -> SyntheticFeedback:
    synthesizer = MessageSynthesizer(HIDDEN, hidden, known_size=0 if told == "nothing" else CLASSES)
    return SyntheticFeedback(synthesizer, told=told, classes=CLASSES if told == "label" else None).double()


@pytest.mark.parametrize("told", TOLD)
def test_a_synthesizer_predicts_from_the_message_and_what_it_is_told_and_learns_what_arrived(told: Told) -> None:
    modules, (inputs, targets) = make_modules(3), make_data()
    feedback = [make_synthetic(told), make_synthetic(told)]
    torch.manual_seed(2)
    for one in feedback:
        one.interface.predictor.mean_square.fill_(0.25)
        for parameter in one.parameters():
            nn.init.normal_(parameter)
    found = replies(feedback, modules, inputs, targets)
    _, sent, _ = factors(modules, inputs)
    known = {
        "nothing": None,
        "label": nn.functional.one_hot(targets, CLASSES),
        "error": error_at(sent[-1], targets) * ROWS,
    }[told]
    for number, one in enumerate(feedback):
        last = one.interface.predictor.synthesizer.last
        assert isinstance(last, nn.Linear)
        read = sent[number] if known is None else torch.cat([sent[number], known], dim=1)
        predicted = read @ last.weight.T + last.bias
        torch.testing.assert_close(found[number], 0.5 * predicted.detach())
        message = sent[number].clone().requires_grad_()
        answer = modules[number + 1](message)
        answer.backward(found[1] if number == 0 else error_at(sent[-1], targets))
        assert message.grad is not None
        scale = one.interface.predictor.scale  # after the update
        torch.testing.assert_close(scale**2, message.grad.square().mean())
        error = (0.5 * predicted - message.grad).square().mean() / (0.5 * scale)  # in the scale it was made in
        expected = torch.autograd.grad(error, [last.weight, last.bias])
        torch.testing.assert_close(last.weight.grad, expected[0])
        torch.testing.assert_close(last.bias.grad, expected[1])


def test_a_fresh_synthesizer_replies_zero_and_a_linear_one_told_the_error_learns_the_true_feedback() -> None:
    modules, (inputs, targets) = make_modules(2), make_data()
    feedback = make_synthetic("error")
    (reply,) = replies([feedback], modules, inputs, targets)
    assert not reply.any()
    feedback = make_synthetic("error")
    optimizer = torch.optim.Adam(feedback.parameters(), lr=0.02)
    both: list[Feedback] = [feedback]
    for _ in range(1500):
        backpropagate(modules, cross_entropy, both, inputs, targets)
        optimizer.step()
        optimizer.zero_grad()
    _, expected = true_gradients(modules, inputs, targets)
    (reply,) = replies([feedback], modules, inputs, targets)
    torch.testing.assert_close(reply, expected[0], rtol=0, atol=1e-3 * float(expected[0].abs().max()))


def test_metrics_are_those_of_the_interface() -> None:
    modules, (inputs, targets) = make_modules(2), make_data()
    feedback = make_synthetic("label")
    backpropagate(modules, cross_entropy, [feedback], inputs, targets)
    assert float(feedback.metrics()["target_r2"]) == 0
    assert float(feedback.metrics()["shrinkage"]) == 1


def test_hidden_layers_are_normalized_over_the_batch_and_the_sigmoid_is_of_every_entry() -> None:
    torch.manual_seed(0)
    deep = MessageSynthesizer(HIDDEN, (7, 5), known_size=2)
    assert [type(layer).__name__ for layer in deep.hidden] == ["Linear", "BatchNorm1d", "ReLU"] * 2
    assert [layer.in_features for layer in deep.hidden if isinstance(layer, nn.Linear)] == [HIDDEN + 2, 7]
    curved = MessageSynthesizer(HIDDEN, sigmoid=True, known_size=1)
    nn.init.normal_(curved.last.weight)
    message, known = torch.randn(3, HIDDEN), torch.randn(3, 1)
    read = torch.cat([message, known, message.sigmoid(), known.sigmoid()], dim=1)
    torch.testing.assert_close(curved(message, known)[:, 0], read @ curved.last.weight.T + curved.last.bias)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.bool])
def test_labels_may_be_of_any_type_of_whole_numbers(kind: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 1]).to(kind)
    assert label_features(labels, 2).tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("feedback", [FeedbackAlignment, DirectFeedbackAlignment])
def test_fixed_weights_follow_the_precision_of_what_they_carry_back(feedback: type[Feedback]) -> None:
    modules, (inputs, targets) = make_modules(2), make_data()
    options: Any = (modules[1],) if feedback is FeedbackAlignment else (HIDDEN, CLASSES)
    one = feedback(*options).float()
    (reply,) = replies([one], modules, inputs, targets)
    assert (reply.dtype, one.weight.dtype) == (torch.float64, torch.float32)


def test_what_does_not_fit_is_refused_by_name() -> None:
    exchange = Exchange(torch.zeros(2, HIDDEN), torch.tensor([0, CLASSES]), torch.zeros(2, HIDDEN), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"^targets must be from 0 to 2, got 0 to 3$"):
        make_synthetic("label").reply(exchange)
    exchange.targets = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"^targets must be class indices \(rows,\) .*, got torch.float32 \(2, 1\)$"):
        make_synthetic("label").reply(exchange)
    exchange.targets = torch.zeros(2, dtype=torch.long)
    unpromised = SyntheticFeedback(MessageSynthesizer(HIDDEN), told="label")
    with pytest.raises(ValueError, match=r"^targets must be floating-point where `classes` is not given, got .*int64$"):
        unpromised.reply(exchange)
    with pytest.raises(ValueError, match=r"^told must be one of nothing, label, error, got 'labels'$"):
        SyntheticFeedback(MessageSynthesizer(HIDDEN), told="labels")  # pyright: ignore[reportArgumentType]
    exchange.targets = torch.tensor([0, 1])
    unpromised = SyntheticFeedback(MessageSynthesizer(HIDDEN), told="label", classes=3)
    with pytest.raises(ValueError, match=r"^message and known must have 4 and 0 features, .*, got 4 and 3$"):
        unpromised.reply(exchange)
    wide = SyntheticFeedback(MessageSynthesizer(5, known_size=3), told="label", classes=3)
    with pytest.raises(ValueError, match=r"^message and known must have 5 and 3 features, .*, got 4 and 3$"):
        wide.reply(exchange)
    exchange.error = torch.zeros(2, CLASSES)
    for sizes, found in (((HIDDEN, 7), f"7 outputs to messages of {HIDDEN}"), ((9, CLASSES), f"{CLASSES} .* of 9")):
        with pytest.raises(
            ValueError, match=rf"^direct feedback of {found} features got outputs of 3 and messages of 4$"
        ):
            DirectFeedbackAlignment(*sizes).reply(exchange)
    with pytest.raises(ValueError, match=r"^receiver must begin with a torch.nn.Linear, got a Conv2d$"):
        FeedbackAlignment(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "make",
    [
        Kickback,
        lambda: DirectFeedbackAlignment(HIDDEN, 1),
        lambda: SyntheticFeedback(MessageSynthesizer(HIDDEN, known_size=1), told="error"),
        lambda: SyntheticFeedback(MessageSynthesizer(HIDDEN, known_size=1), told="label"),
    ],
)
def test_one_number_a_row_may_do_without_an_axis(make: Any) -> None:
    inputs, generator = make_data()[0], torch.Generator().manual_seed(2)
    targets = torch.randn(ROWS, generator=generator, dtype=torch.float64)

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.flatten() - targets.flatten()).square()

    found = []
    for flat in (False, True):
        for given in (targets, targets[:, None]):
            torch.manual_seed(1)
            feedback, last = make().double(), nn.Linear(HIDDEN, 1).double()
            modules = [make_modules(2)[0], nn.Sequential(last, nn.Flatten(0)) if flat else last]
            loss = backpropagate(modules, squared, [feedback], inputs, given)
            found.append((loss, [each.grad for module in (*modules, feedback) for each in module.parameters()]))
    assert_close(found[1:], [found[0]] * 3)


def test_a_copy_of_feedback_alignment_watches_the_receiver_that_is_copied_with_it_or_says_so() -> None:
    modules, (inputs, targets) = make_modules(2), make_data()
    feedback = FeedbackAlignment(modules[1])
    alone = copy.deepcopy(feedback)
    first: tuple[Any, Any] = copy.deepcopy((feedback, modules))
    last: tuple[Any, Any] = copy.deepcopy((modules, feedback))
    expected = replies([feedback], modules, inputs, targets)
    torch.testing.assert_close(replies([first[0]], first[1], inputs, targets), expected)
    torch.testing.assert_close(replies([last[1]], last[0], inputs, targets), expected)
    with pytest.raises(ValueError, match=r"^a copy of FeedbackAlignment watches no receiver unless"):
        replies([alone], modules, inputs, targets)


def test_what_is_held_fixed_is_left_alone() -> None:
    modules, (inputs, targets) = make_modules(3), make_data()
    modules[0].requires_grad_(False)
    fixed = MessageSynthesizer(HIDDEN).double().requires_grad_(False)
    backpropagate(modules, cross_entropy, [SyntheticFeedback(fixed), SyntheticFeedback(fixed)], inputs, targets)
    assert all(parameter.grad is None for part in (modules[0], fixed) for parameter in part.parameters())
    assert all(parameter.grad is not None for parameter in modules[2].parameters())
