"""A network of convolutions as a chain, and the synthesizer that fits between its layers."""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.decoupled.synthetic import require_sizes
from sgrnn.errors import at_least

_SIZE = 5  # of a filter


def convolutional(side: int, channels: int, layers: int, output_size: int) -> list[nn.Module]:
    """Return a network of convolutions as its layers, for images (rows, side²) of one channel.

    A hidden layer is a convolution of 5 x 5, batch norm, ReLU, and the largest of 2 x 2; the last is linear.

    Args:
        side: pixels of an image's side.
        channels: filters of each hidden layer.
        layers: number of layers, two or more, the last counted.
        output_size: features of the answer.

    Raises:
        ValueError: so many layers leave no pixel.
    """
    at_least("layers", layers, 2)
    left = side >> (layers - 1)
    if not left:
        raise ValueError(f"side must be at least {2 ** (layers - 1)} for {layers} layers, got {side}")
    sizes = [1, *[channels] * (layers - 1)]
    hidden = [
        nn.Sequential(*_convolution(before, after), nn.MaxPool2d(2)) for before, after in pairwise(sizes)
    ]  # fmt: skip
    hidden[0].insert(0, nn.Unflatten(1, (1, side, side)))
    return [*hidden, nn.Sequential(nn.Flatten(), nn.Linear(channels * left**2, output_size))]


@final
class ConvolutionalSynthesizer(nn.Module):
    """Predict the gradient at a message of several channels by convolutions of 5 x 5.

    What is known beside the message comes in as planes, each of one value. Hidden layers have batch norm and ReLU; the
    last is zero, so that training begins without a gradient.

    Args:
        shape: (channels, height, width) of a message.
        hidden_channels: filters of each hidden layer; none at all makes it linear.
        known_size: features of what is known.
    """

    def __init__(
        self, shape: tuple[int, int, int], hidden_channels: tuple[int, ...] = (), *, known_size: int = 0
    ) -> None:
        super().__init__()
        self.shape, self.known_size = shape, known_size
        self.state_size = shape[0] * shape[1] * shape[2]
        sizes = [shape[0] + known_size, *hidden_channels]
        self.hidden = nn.Sequential()
        for before, after in pairwise(sizes):
            self.hidden.extend(_convolution(before, after))
        self.last = nn.Conv2d(sizes[-1], shape[0], _SIZE, padding=_SIZE // 2)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None, "made with one"
        nn.init.zeros_(self.last.bias)

    def forward(self, message: Tensor, known: Tensor | None = None) -> Tensor:
        """Predict (rows, 1, features) for messages (rows, features) and what is known (rows, known_size).

        Raises:
            ValueError: either has other features than it should.
        """
        require_sizes(message, known, (self.state_size, self.known_size))
        planes = message.unflatten(1, self.shape)
        if known is not None:
            told = known.to(message)[:, :, None, None].expand(-1, -1, *self.shape[1:])
            planes = torch.cat([planes, told], dim=1)
        return self.last(self.hidden(planes)).flatten(1).unsqueeze(1)


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, _SIZE, padding=_SIZE // 2), nn.BatchNorm2d(after), nn.ReLU()]
