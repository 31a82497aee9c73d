"""How far back does an update at every step reach? Endless streams under every estimator, by steps and by seconds.

    python benchmarks/stream.py [--quick] [--json FILE] [--tasks gap chain] [--lengths 3 8] [--methods ...] [--seeds ...]

Three tasks. `gap`: random bits, each to be repeated so many steps later. `chain`: a cue that is asked for after so many
steps of noise, the memory chain of streaming reinforcement learning as supervised recall. `text`: the characters of Penn
Treebank in one pass, and `change`: of Penn Treebank, of Python's documentation, and of Penn Treebank again; lengths are
there thousands of characters of each. What counts of the first two is when the loss of the last thousand answers falls
under a tenth of what no memory costs, in steps and in seconds of the process; of texts the bits per character, each
predicted before it is learned, of every tenth of the stream.

Methods: `truncated T` with a window of T steps, `averaged T` with slow averages of gradients (Adam's first decay 0.99);
`tbptt k1 k2`, an update every k1 steps through k2; `synthetic T n`, synthetic gradients n steps late; `adjoint T n` with the
adjoint synthesizer; `future T n`, run ahead into a known future in the place of waiting; `shuffled T n`, across rows;
`state T`, a perceptron that sees the state alone; `snap-1` and `rtrl`, for few units.

Every run leaves a file under --out: stopped, the benchmark goes on when called again. --quick takes gaps of 2 and 3, one
seed, 2,000 steps.
"""

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from endless import Reading, memory_chain, repeat_after, text
from frame import Condition, Record, add_training_options, benchmark, best_settings, grid, positive, run_all, whole
from shown import print_by_column
from torch import Tensor, nn

import sgrnn
from sgrnn.data import CharacterTokenizer, data_folder, load_texts
from sgrnn.data.catalog import CATALOG
from sgrnn.estimators import GradientEstimator, Loss
from sgrnn.estimators.online import RTRL, SnAp1
from sgrnn.span import Span

METHODS = [
    "truncated 1", "averaged 1", "tbptt 1 8", "tbptt 1 32", "tbptt 5 20", "truncated 20", "synthetic 1", "synthetic 5",
    "adjoint 1", "future 1", "shuffled 1", "state 1",
]  # fmt: skip
FORGOTTEN = 0.1  # of the loss without memory, log 2
