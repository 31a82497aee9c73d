"""An interface cuts the graph between two modules, and gives the sender what the receiver is predicted to send back."""

import re
from typing import Any

import pytest
import torch
from given import make_oracle
from models import gradients
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.synthesizers import Interface, Lookahead, MLPSynthesizer
from sgrnn.synthesizers.interface import alongside

ROWS, FEATURES = 6, 4


def make(seed: int = 0) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    sender, receiver = nn.Linear(3, FEATURES).double(), nn.Linear(FEATURES, 2).double()
    return sender, receiver, torch.randn(ROWS, 3).double(), torch.randn(ROWS, 2).double()


def error(receiver: nn.Module, received: Tensor, targets: Tensor) -> Tensor:
    return (receiver(received) - targets).square().mean()


def test_with_the_exact_gradient_both_are_trained_as_in_one_graph() -> None:
    sender, receiver, inputs, targets = make()
    message = sender(inputs)
    message.retain_grad()
    (message.square().sum() + error(receiver, message, targets)).backward()
    expected = gradients(sender), gradients(receiver)
    assert message.grad is not None
    exact = message.grad - 2 * message.detach()
    sender.zero_grad()
    receiver.zero_grad()
    interface = make_oracle([exact])
    message = sender(inputs)
    received, reply = interface(message)
    assert_identical(received, message.detach())
    (message.square().sum() + reply).backward()
    assert_close(gradients(sender), expected[0])
    assert not any(gradient.any() for gradient in gradients(receiver).values()), "the receiver has not run yet"
    error(receiver, received, targets).backward()
    assert_close(gradients(sender), expected[0])
    assert_close(gradients(receiver), expected[1])


def test_what_it_learns_is_the_real_gradient_in_units_of_its_root_mean_square() -> None:
    sender, receiver, inputs, targets = make()
    interface = Interface(MLPSynthesizer(FEATURES, (5,))).double()
    nn.init.normal_(interface.predictor.synthesizer.get_parameter("last.weight"))
    message = sender(inputs).detach().requires_grad_()
    error(receiver, message, targets).backward()
    assert message.grad is not None
    scale = message.grad.square().mean().sqrt()
    ((interface.predictor.synthesizer(message.detach())[:, 0] - message.grad).square().mean() / scale).backward()
    expected = gradients(interface)
    interface.zero_grad()
    received, _ = interface(message)
    error(receiver, received, targets).backward()
    assert_close(gradients(interface), expected)
    assert_close(interface.predictor.mean_square.sqrt(), scale)
    assert interface.predictor.updates == 1


@pytest.mark.parametrize("shrinkage", [True, False])
def test_the_reply_is_the_prediction_gated_and_in_the_receivers_units(shrinkage: bool) -> None:
    sender, _, inputs, _ = make()
    interface = Interface(MLPSynthesizer(FEATURES, ()), shrinkage=shrinkage).double()
    nn.init.normal_(interface.predictor.synthesizer.get_parameter("last.weight"))
    interface.predictor.mean_square.fill_(0.25)
    interface.predictor.shrinkage.dot.fill_(0.3)
    interface.predictor.shrinkage.square.fill_(0.4)
    message = sender(inputs).detach().requires_grad_()
    _, reply = interface(message)
    assert reply.item() == 0
    (2 * reply).backward()
    factor = 2 * 0.5 * (0.75 if shrinkage else 1)
    assert_close(message.grad, factor * interface.predictor.synthesizer(message)[:, 0].detach(), torch.float32)


def test_untrained_it_sends_nothing_back_and_nothing_real_arrives_at_the_sender() -> None:
    sender, receiver, inputs, targets = make()
    interface = Interface(MLPSynthesizer(FEATURES)).double()
    received, reply = interface(sender(inputs))
    (error(receiver, received, targets) + reply).backward()
    assert not any(gradient.any() for gradient in gradients(sender).values())
    assert all(gradient.any() for gradient in gradients(receiver).values())


def test_a_message_that_is_not_answered_teaches_nothing() -> None:
    sender, _, inputs, _ = make()
    interface = Interface(MLPSynthesizer(FEATURES)).double()
    _, reply = interface(sender(inputs))
    reply.backward()
    assert interface.predictor.updates == 0
    assert not any(gradient.any() for gradient in gradients(interface).values())


def test_without_gradients_it_is_a_wire() -> None:
    sender, _, inputs, _ = make()
    with torch.no_grad():
        received, reply = Interface(make_oracle([]).predictor.synthesizer)(sender(inputs))
    assert_identical((received, float(reply)), (sender(inputs).detach(), 0.0))


def test_several_messages_may_wait_for_their_answers_while_the_sender_is_trained() -> None:
    sender, receiver, inputs, targets = make()
    interface = Interface(MLPSynthesizer(FEATURES, ())).double()
    optimizer = torch.optim.SGD(sender.parameters(), 0.1)
    all_reduce = torch.zeros((), dtype=torch.float64)
    for _ in range(3):
        message = sender(inputs)
        received, reply = interface(message)
        (message.square().mean() + reply).backward()
        optimizer.step()
        optimizer.zero_grad()
        all_reduce = all_reduce + error(receiver, received, targets)
    all_reduce.backward()
    assert interface.predictor.updates == 3


def test_a_linear_synthesizer_learns_what_is_linear() -> None:
    _, receiver, _, targets = make()
    interface = Interface(MLPSynthesizer(FEATURES, (), standardize=False), ema_decay=0.9).double()
    optimizer = torch.optim.Adam(interface.parameters(), 0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        message = torch.randn(ROWS, FEATURES, dtype=torch.float64, generator=generator)
        received, _ = interface(message)
        error(receiver, received, 0 * targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    metrics = interface.metrics()
    assert float(metrics["target_r2"]) > 0.99
    assert float(metrics["shrinkage"]) > 0.95


def test_it_may_know_what_the_sender_does_not() -> None:
    interface = Interface(MLPSynthesizer(FEATURES, (), lookahead=1, feature_size=3)).double()
    nn.init.normal_(interface.predictor.synthesizer.get_parameter("last.weight"))
    interface.predictor.mean_square.fill_(1)
    found = []
    for value in (0.0, 1.0):
        message = torch.ones(ROWS, FEATURES, dtype=torch.float64, requires_grad=True)
        known = Lookahead(torch.full((1, ROWS, 3), value).double(), None)
        interface.predictor.shrinkage.dot.fill_(1)
        interface.predictor.shrinkage.square.fill_(1)
        interface(message, known)[1].backward()
        found.append(message.grad)
    assert not torch.equal(*found)


@pytest.mark.parametrize(("shape", "grad"), [((ROWS, FEATURES + 1), False), ((1, ROWS, FEATURES), True)])
def test_a_message_of_another_size_is_refused(shape: tuple[int, ...], grad: bool) -> None:
    message = rf"message must be (rows, {FEATURES}), as the synthesizer predicts for, got {shape}"
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Interface(MLPSynthesizer(FEATURES))(torch.zeros(shape))


def test_a_synthesizer_that_names_no_size_is_for_any_matrix_that_it_predicts_for() -> None:
    interface = Interface(OwnSynthesizer())
    assert interface(torch.ones(ROWS, 2))[0].shape == (ROWS, 2)
    with pytest.raises(ValueError, match=r"^message must be \(rows, features\), got \(3,\)$"):
        interface(torch.zeros(3))

    message = r"^message must be \(rows, features\) as the synthesizer predicts for it, \(6, 1\), got \(6, 4\)$"
    with pytest.raises(ValueError, match=message):
        Interface(OwnSynthesizer(1))(torch.zeros(ROWS, FEATURES))


def test_what_is_known_may_be_anything_and_is_not_trained() -> None:
    encoder = nn.Linear(FEATURES, FEATURES).double()
    seen = encoder(torch.randn(2, ROWS, FEATURES).double())

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(FEATURES, FEATURES)

        def forward(self, message: Tensor, known: Any) -> Tensor:
            if isinstance(known, Lookahead):
                known = known.features
            elif isinstance(known, dict):
                known = known["a"][0]
            return self.linear(message + (known[0] if isinstance(known, Tensor) else 0)).unsqueeze(1)

    for known in (Lookahead(seen, None), {"a": (seen, None)}, (None, 3), [None], None):
        interface = Interface(Reading()).double()
        received, _ = interface(torch.randn(ROWS, FEATURES).double(), known)
        received.square().sum().backward()
        assert gradients(interface)["predictor.synthesizer.linear.weight"].any()
    assert encoder.weight.grad is None


def test_it_learns_nothing_of_rows_that_are_not_finite() -> None:
    interface = Interface(MLPSynthesizer(FEATURES, (4,))).double()
    sender = nn.Linear(3, FEATURES).double()
    for bad in (None, "message", "answer", None):
        inputs, factor = torch.randn(ROWS, 3).double(), torch.ones(ROWS, 1).double()
        if bad:
            (inputs if bad == "message" else factor)[1] = float("nan")
        interface.zero_grad()
        sender.zero_grad()
        received, reply = interface(sender(inputs))
        reply.backward()
        (received.square() * factor).sum().backward()
        assert all(gradient.isfinite().all() for gradient in gradients(interface).values())
        assert all(buffer.isfinite().all() for buffer in interface.buffers())
    assert interface.predictor.updates == 4
    assert all(gradient.isfinite().all() for gradient in gradients(sender).values())


class OwnSynthesizer(nn.Module):
    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size

    def forward(self, message: Tensor, known: Any) -> Tensor:
        return message[:, None, : self.size]


def test_alongside_a_tensor_a_reply_goes_backwards_once() -> None:
    tensor, message = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    (5 * alongside(tensor, message.sum())).sum().backward()
    assert_identical((tensor.grad, message.grad), (torch.full((3, 2), 5.0), torch.ones(3, 2)))


def test_a_receiver_may_write_into_what_it_receives() -> None:
    sender, _, inputs, _ = make()
    message = sender(inputs)
    received, _ = Interface(MLPSynthesizer(FEATURES)).double()(message)
    kept = message.detach().clone()
    nn.functional.relu_(received).sum().backward()
    assert_identical(received.detach(), kept.relu())
    assert_identical(message.detach(), kept)


def test_what_is_not_finite_of_what_is_known_trains_nothing() -> None:
    interface = Interface(MLPSynthesizer(FEATURES, lookahead=1, feature_size=2)).double()
    features = torch.randn(1, ROWS, 2).double()
    features[0, 1, 0], features[0, 2, 1] = torch.nan, torch.inf
    received, _ = interface(torch.randn(ROWS, FEATURES).double().requires_grad_(), Lookahead(features, None))
    received.square().sum().backward()
    assert all(gradient.isfinite().all() for gradient in gradients(interface).values())
