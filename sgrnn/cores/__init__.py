"""Recurrent cores: ``core(inputs, state) -> (outputs, state)`` and ``core.initial_state(batch_size)``, time first."""

from sgrnn.cores.gru import GRU
from sgrnn.cores.hierarchy import HierarchicalCore
from sgrnn.cores.initial import beginning, has_beginning, initial_state
from sgrnn.cores.lstm import LSTM
from sgrnn.cores.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "HierarchicalCore", "beginning", "has_beginning", "initial_state"]
