"""Online gradient estimators for small cores, which carry tensors forwards instead of going back through a window.

`RTRL`, `SnAp1` and `UORO` carry the influence of the parameters on the state: in full, sparse, at random.
`BPLambda` carries the trace with which a synthesizer learns at every step.
"""

from sgrnn.estimators.online.bp_lambda import BPLambda
from sgrnn.estimators.online.rtrl import RTRL
from sgrnn.estimators.online.snap import SnAp1
from sgrnn.estimators.online.uoro import UORO

__all__ = ["RTRL", "UORO", "BPLambda", "SnAp1"]
