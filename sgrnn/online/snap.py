"""Real-time recurrent learning with a sparse influence."""

import torch
from torch import Tensor

from sgrnn.online.rtrl import MatrixPolicy


class SnAp1(MatrixPolicy):
    """The sparse one-step approximation (Menick et al. 2021): influence within one step's reach only.

        P_t = M * (J_t P_{t-1}) + D_t                           entry by entry

    M has a one where a parameter reaches an entry of the state within a single step, that is, where D_t is not
    structurally zero. A unit's own weights keep their influence on that unit, its influence on the others being left
    out. It is real-time recurrent learning where the units of a core do not act on one another and each has one number
    as its state: a diagonal recurrent matrix in an RNN or a GRU. The step is the model's: with several layers, a
    lower layer's parameters reach the layers above within the same step.

    M is read off the D_t met so far, over all rows: an entry that has been zero in all of them has no influence yet.

    Memory, per row: as `RealTime`, N x P numbers carried and twice as many more while a step is taken, since the
    influence is kept as a dense matrix with zeros in it; besides N x P bits of M, stored as bytes, once for all rows.
    What the paper saves by storing the ones alone is not saved here: it is the same gradient.
    """

    pattern: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.carry("pattern", torch.bool)

    def _shapes(self, rows: int, features: int, parameters: int) -> dict[str, tuple[int, ...]]:
        return {**super()._shapes(rows, features, parameters), "pattern": (features, parameters)}

    def _kept(self, carried: Tensor, direct: Tensor) -> Tensor:
        self.pattern = self.pattern | (direct != 0).any(dim=0)
        return carried.mul_(self.pattern).add_(direct)
