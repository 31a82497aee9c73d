"""Networks of the papers, as lists of modules between which there is an interface."""

from itertools import pairwise

from torch import nn

from sgrnn.errors import at_least


def fully_connected(input_size: int, hidden_size: int, layers: int, output_size: int) -> list[nn.Module]:
    """Return a fully connected network as its layers: linear, batch norm, ReLU each, and a linear one at the end.

    The FCN of Jaderberg et al. 2016, of 256 units and 3 to 6 layers, the last counted.

    Args:
        input_size: features of a row, of whatever shape.
        hidden_size: units of each hidden layer.
        layers: number of layers, two or more.
        output_size: features of the answer.
    """
    at_least("layers", layers, 2)
    sizes = [input_size, *[hidden_size] * (layers - 1)]
    hidden = [
        nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()) for before, after in pairwise(sizes)
    ]
    hidden[0].insert(0, nn.Flatten())
    return [*hidden, nn.Linear(hidden_size, output_size)]
