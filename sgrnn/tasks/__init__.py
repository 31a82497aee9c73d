"""Tasks with known dependencies in time: endless episodes, drawn at random, each a span of its own.

task = Copy(batch_size=32)
model = Readout(LSTM(task.input_size, 64), 64, task.output_size, task.loss)
state = model.initial_state(task.batch_size)
while task.length < 20:
    episode = task.draw()
    total = 0.0
    for span in episode.divide(10, estimator.lookahead):
        step = estimator.backward(span, state)   # fills .grad
        ...                                                     # step the optimizers
        state = step.state
        total += float(step.loss) * span.steps
    task.observe(loss_per_target(total / episode.steps, episode))
"""

from sgrnn.models.readout import Readout
from sgrnn.tasks.adding import Adding
from sgrnn.tasks.copy import Copy, RepeatCopy
from sgrnn.tasks.curriculum import CurriculumTask
from sgrnn.tasks.mnist import SequentialMNIST, read_idx
from sgrnn.tasks.recall import DelayedRecall
from sgrnn.tasks.scores import loss_per_target
from sgrnn.tasks.task import Task

__all__ = [
    "Adding",
    "Copy",
    "CurriculumTask",
    "DelayedRecall",
    "Readout",
    "RepeatCopy",
    "SequentialMNIST",
    "Task",
    "loss_per_target",
    "read_idx",
]
