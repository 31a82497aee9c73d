"""Gradient policies that look back by carrying something forwards, and need no window: for small cores.

`RealTime`, `SnAp1` and `UORO` carry the influence of the parameters on the state: in full, sparse, at random.
`BPLambda` carries the trace with which a synthesizer learns at every step.
"""

from sgrnn.online.bp_lambda import BPLambda
from sgrnn.online.rtrl import RealTime
from sgrnn.online.snap import SnAp1
from sgrnn.online.uoro import UORO

__all__ = ["UORO", "BPLambda", "RealTime", "SnAp1"]
