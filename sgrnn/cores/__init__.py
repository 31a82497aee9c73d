"""Recurrent cores: ``core(inputs, state) -> (outputs, state)`` and ``core.initial_state(batch_size)``, time first."""

from sgrnn.cores.adapted import AdaptedCore
from sgrnn.cores.gru import GRU
from sgrnn.cores.hierarchy import HierarchicalCore
from sgrnn.cores.initial import beginnings, first_state, has_initial_state, initial_state
from sgrnn.cores.lstm import LSTM
from sgrnn.cores.rnn import RNN
from sgrnn.cores.sequential import SequentialCore

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptedCore",
    "HierarchicalCore",
    "SequentialCore",
    "beginnings",
    "first_state",
    "has_initial_state",
    "initial_state",
]
