"""A Lightning module with manual optimization, which goes through each batch of sequences span by span.

The network repeats bits of four steps ago, and gradients go back three: without synthetic ones the loss would stay at
0.693. The synthesizer is a part of the module, so that its parameters are stepped, saved and moved with the others.
`precision="bf16-mixed"` works; "16-mixed" scales the loss, as only a loop with `sgrnn.Boundary` lets it.

    $ python examples/lightning_module.py
    loss of the first batch 0.69, of the last 0.03
"""

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sgrnn


class Repeater(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.core, self.head = nn.LSTM(1, 32), nn.Linear(32, 1)
        self.estimator = sgrnn.SyntheticGradients(self.core, self.loss, window=3)
        self.losses: list[float] = []

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.head(outputs), targets, reduction="none").squeeze(-1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizer, state, losses = self.optimizers(), None, []
        assert not isinstance(optimizer, list)
        for span in sgrnn.spans(*batch, steps=10, lookahead=self.estimator.lookahead, batch_first=True):
            step = self.estimator.backward(span, state)
            state = step.state
            self.clip_gradients(optimizer.optimizer, 1.0, "norm")
            optimizer.step()
            optimizer.zero_grad()
            losses.append(step.loss)
            self.log_dict({"loss": step.loss, **step.metrics})
        self.losses.append(torch.stack(losses).mean().item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (320, 100, 1)).float()
    sequences = DataLoader(TensorDataset(bits * 2 - 1, bits.roll(4, dims=1)), batch_size=16)
    trainer = lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(module := Repeater(), sequences)
    print(f"loss of the first batch {module.losses[0]:.2f}, of the last {module.losses[-1]:.2f}")
