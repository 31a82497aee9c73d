"""Networks of convolutions: shapes, what their synthesizers read, and gradients by exact replies."""

import pytest
import torch
import torch.nn.functional as F
from chains import Given, cross_entropy, taken
from torch import Tensor, nn

from sgrnn.decoupled import ConvolutionalSynthesizer, Feedback, SyntheticFeedback, convolutional
from sgrnn.decoupled.passes import backpropagate


def make() -> tuple[list[nn.Module], Tensor, Tensor]:
    torch.manual_seed(0)
    modules = [module.double().eval() for module in convolutional(8, 3, 3, 4)]
    return modules, torch.randn(5, 64, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])


def test_a_hidden_layer_halves_the_image_and_the_last_is_linear() -> None:
    modules, images, _ = make()
    shapes = []
    for module in modules:
        images = module(images)
        shapes.append(tuple(images.shape[1:]))
    assert shapes == [(3, 4, 4), (3, 2, 2), (4,)]
    kinds = [type(part).__name__ for part in modules[1]]  # pyright: ignore[reportGeneralTypeIssues]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    with pytest.raises(ValueError, match=r"^side must be at least 8 for 4 layers, got 7$"):
        convolutional(7, 2, 4, 2)
    with pytest.raises(ValueError, match=r"^layers must be at least 2, got 1$"):
        convolutional(7, 2, 1, 2)


def test_exact_replies_give_the_gradients_of_back_propagation() -> None:
    modules, images, labels = make()
    sent = [images]
    for module in modules:
        sent.append(module(sent[-1]))
    for message in sent[1:]:
        message.retain_grad()
    cross_entropy(sent[-1], labels).mean().backward()
    expected = taken(modules)
    given: list[Feedback] = [Given(lambda exchange, exact=message.grad: exact) for message in sent[1:-1]]
    backpropagate(modules, cross_entropy, given, images, labels)
    for one, other in zip(taken(modules), expected, strict=True):
        assert float((one - other).abs().max()) < 1e-10


def test_a_linear_synthesizer_is_a_convolution_of_the_message_and_of_planes_of_the_label() -> None:
    torch.manual_seed(1)
    synthesizer = ConvolutionalSynthesizer((2, 4, 3), known_size=3)
    message, known = torch.randn(5, 24), F.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3)
    assert not synthesizer(message, known).any()
    nn.init.normal_(synthesizer.last.weight)
    planes = known.float()[:, :, None, None] * torch.ones(4, 3)
    expected = F.conv2d(torch.cat([message.view(5, 2, 4, 3), planes], dim=1), synthesizer.last.weight, padding=2)
    torch.testing.assert_close(synthesizer(message, known)[:, 0], expected.flatten(1))
    deep = ConvolutionalSynthesizer((2, 4, 3), (6, 5))
    assert [type(part).__name__ for part in deep.hidden] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2
    assert deep(message).shape == (5, 1, 24)
    with pytest.raises(ValueError, match=r"^message and known must have 24 and 0 features, .*, got 24 and 3$"):
        deep(message, known)


def test_it_replies_and_learns_in_a_chain() -> None:
    modules, images, labels = make()
    feedback = [
        SyntheticFeedback(ConvolutionalSynthesizer(shape, known_size=4), told="label", classes=4).double()
        for shape in ((3, 4, 4), (3, 2, 2))
    ]
    backpropagate(modules, cross_entropy, feedback, images, labels)
    moved = [bool(next(one.parameters()).grad is not None) for one in feedback]
    assert moved == [True, True]
    top = feedback[1].interface.predictor.synthesizer.get_parameter("last.weight").grad
    assert top is not None
    assert top.any()
