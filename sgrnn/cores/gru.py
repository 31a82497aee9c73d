"""The core of gated recurrent units."""

import torch
from torch import nn

from sgrnn.cores.stacked import StackedCore


class GRU(StackedCore):
    """Gated recurrent units (Cho et al. 2014), the reset gate applied after the recurrent product.

    For an input x and a state h, per layer:

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        reset gate
        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        update gate
        n = tanh   (W_in x + b_in + r (W_hn h + b_hn))    candidate
        h' = (1 - z) n + z h                              also the output

    The state is one tensor (num_layers, batch, hidden_size). ``layers[k].weight_ih_l0`` packs W_ir, W_iz, W_in as
    rows, (3 hidden_size, input_size); ``weight_hh_l0`` likewise.
    """

    kind = nn.GRU
    kernel = staticmethod(torch.gru)
