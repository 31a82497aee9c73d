"""The core of the simple recurrent network."""

import torch
from torch import nn

from sgrnn.cores.stacked import StackedCore


class RNN(StackedCore):
    """The simple recurrent network (Elman 1990).

    For an input x and a state h, per layer:

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)          also the output

    The state is one tensor (num_layers, batch, hidden_size).
    """

    kind = nn.RNN
    kernel = staticmethod(torch.rnn_tanh)
