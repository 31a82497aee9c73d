"""The optimizer and the device that a recipe names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sgrnn.config.optimization import MuonConfig, OptimizerConfig
from sgrnn.errors import InputError
from sgrnn.muon import Muon

_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def build_optimizer(section: OptimizerConfig, module: nn.Module) -> Optimizer | None:
    """Return the optimizer of a module's parameters; None if it has none."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        return None
    options = section.options("learning_rate")
    if isinstance(section, MuonConfig):
        return Muon(module, section.learning_rate, **options)
    return _OPTIMIZERS[section.kind](parameters, lr=section.learning_rate, fused=True, **options)


def restore_optimizer(optimizer: Optimizer, section: OptimizerConfig, saved: Mapping[str, Any]) -> None:
    """Load the saved state of an optimizer, with learning rate and weight decay as a recipe has them now.

    Args:
        optimizer: as `build_optimizer` made it.
        section: the recipe's.
        saved: what its `state_dict` gave.
    """
    optimizer.load_state_dict(dict(saved))
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = section.learning_rate, section.weight_decay


def device_of_use(name: str) -> torch.device:
    """Return the device that a trained model is used on: that of its recipe, or the CPU where this machine lacks it."""
    return torch.device("cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda")


def choose_device(name: str, local: int = 0, local_size: int = 1) -> torch.device:
    """Return the device that a recipe names; `auto` takes a GPU where there is one.

    Args:
        name: auto, cpu or cuda.
        local: the number of the process on this machine, which is that of its GPU.
        local_size: how many processes there are on this machine.

    Raises:
        InputError: a GPU is asked for and there is none, or there are fewer GPUs than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device must be cpu or auto on this machine, got cuda, which it does not have")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    gpus = torch.cuda.device_count()
    if local_size > gpus:
        raise InputError(
            f"training.device must be cpu for more processes on a machine than it has GPUs, {gpus}, got {name} for "
            f"{local_size} processes: start as many as there are GPUs"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
