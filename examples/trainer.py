"""Hugging Face's Trainer with its `training_step` overridden: one update a span, the state carried from span to span.

The network repeats bits of four steps ago, and gradients go back three: without synthetic ones the loss would stay at
0.693. The synthesizer is a part of the model, so that Trainer steps, clips, saves and moves its parameters with the
others. Gradients of spans that are accumulated are added up, not averaged.

    $ python examples/trainer.py
    loss of updates 1 to 20 0.68, of the last 20 0.00
"""

import tempfile
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

import sgrnn


class Repeater(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core, self.head = nn.LSTM(1, 32), nn.Linear(32, 1)
        self.estimator = sgrnn.SyntheticGradients(self.core, self.loss, window=3)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.head(outputs), labels, reduction="none").squeeze(-1)


class Spans(IterableDataset[dict[str, sgrnn.Span]]):
    def __iter__(self) -> Iterator[dict[str, sgrnn.Span]]:
        bits = torch.randint(0, 2, (2000, 16, 1)).float()
        return ({"span": span} for span in sgrnn.spans(bits * 2 - 1, bits.roll(4, dims=0), steps=10, lookahead=8))


class SpanTrainer(Trainer):
    carried: Any = None

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        step = self.accelerator.unwrap_model(model).estimator.backward(inputs["span"], self.carried)
        self.carried = step.state
        return step.loss


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=200, learning_rate=0.01, lr_scheduler_type="constant", per_device_train_batch_size=1,
            logging_steps=20, save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
            use_cpu=True, accelerator_config={"dispatch_batches": False},
        )  # fmt: skip
        trainer = SpanTrainer(Repeater(), arguments, train_dataset=Spans(), data_collator=lambda batch: batch[0])
        trainer.train()
    first, *_, last = (entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    print(f"loss of updates 1 to 20 {float(first):.2f}, of the last 20 {float(last):.2f}")
