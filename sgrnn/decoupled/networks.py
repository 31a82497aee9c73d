"""Networks of the papers, as lists of modules between which there is an interface."""

from torch import nn

from sgrnn.cores.feedforward import FeedForward
from sgrnn.errors import at_least


def fully_connected(input_size: int, hidden_size: int, layers: int, output_size: int) -> list[nn.Module]:
    """Return a fully connected network as its layers: linear, batch norm, ReLU each, and a linear one at the end.

    The FCN of Jaderberg et al. 2016 has 256 units and 3 to 6 layers, the last counted.

    Args:
        input_size: features of a row.
        hidden_size: units of each hidden layer.
        layers: number of layers, two or more.
        output_size: features of the answer.
    """
    at_least("layers", layers, 2)
    return [*FeedForward(input_size, hidden_size, layers - 1).layers, nn.Linear(hidden_size, output_size)]


def input_synthesizer(input_size: int, hidden_size: int, message_size: int) -> nn.Module:
    """Return a perceptron that predicts what a module will be sent from the network's inputs.

    Args:
        input_size: features of a row of these.
        hidden_size: units of its one hidden layer, with batch norm and ReLU.
        message_size: features of a message.
    """
    return nn.Sequential(*FeedForward(input_size, hidden_size).layers, nn.Linear(hidden_size, message_size))
