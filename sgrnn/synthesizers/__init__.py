"""Synthesizers: predictors of the gradient that the future would send to a state.

A synthesizer is any module ``synthesizer(state, lookahead) -> (rows, heads, features)`` that predicts, for every
row of a state, the gradient of the row's summed future loss with respect to all the floating-point tensors of the
state, flattened as by `sgrnn.state.to_matrix` and divided by a scale that the estimator keeps. An attribute
``lookahead`` tells how many upcoming steps it wants to see, and ``sees_errors`` whether it wants the errors that
the model makes there. `AdjointSynthesizer` alone is also told what is injected at the next boundary.
"""

from sgrnn.synthesizers.adjoint import AdjointSynthesizer
from sgrnn.synthesizers.error import ErrorSynthesizer
from sgrnn.synthesizers.follower import Follower
from sgrnn.synthesizers.mlp import MLPSynthesizer

__all__ = ["AdjointSynthesizer", "ErrorSynthesizer", "Follower", "MLPSynthesizer"]
