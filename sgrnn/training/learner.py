"""A model in training, and one update of it."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.model import interfaces_of
from sgrnn.config.build.optimizer import build_optimizer, choose_device, restore_optimizer
from sgrnn.config.recipe import Recipe
from sgrnn.estimators import Step
from sgrnn.span import Span
from sgrnn.training.averaging import Average
from sgrnn.training.distributed import Ranks
from sgrnn.training.problems.problem import Problem


@final
class Learner:
    """A model with its gradient estimator, their optimizers, and the state that is carried from span to span.

    Of `average.model` is told how good it is, and it is kept; `model` is what training goes on with.

    torch's random generator belongs to it, too: it is seeded here, and `state_dict` holds where it stands.

    Args:
        recipe: of the run.
        problem: what is learned; it is started with the estimator's lookahead.
        ranks: the processes that train the model together.
    """

    def __init__(self, recipe: Recipe, problem: Problem, ranks: Ranks) -> None:
        settings = recipe.training
        self._recipe, self._settings, self._ranks = recipe, settings, ranks
        self.device = choose_device(settings.device, ranks.local_rank, ranks.local_world_size)
        torch.manual_seed(settings.seed)
        self.model = problem.build_model().to(self.device)
        self.estimator = build_estimator(recipe, self.model, problem.updates_per_epoch, ranks.all_reduce)
        self.estimator.to(self.device)
        optimizer = build_optimizer(recipe.optimizer, self.model)
        assert optimizer is not None, "a model has parameters"
        self._optimizer = optimizer
        self._synthesizer_optimizer = build_optimizer(recipe.synthesizer_optimizer, self.estimator)
        self.average = Average(recipe.average, self.model)
        problem.start(self.estimator.lookahead)
        self.state = self.model.initial_state(ranks.local_rows(settings.batch_size))
        ranks.reseed(settings.seed, update=0)
        self.model.train()

    def learn(self, span: Span, learning_rate: float) -> tuple[Step, Tensor]:
        """Make one update; return the step, its metrics averaged over processes, and the norm of the gradient.

        Args:
            span: all rows.
            learning_rate: of the model.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        span = self._ranks.share(span).to(self.device)
        step = self.estimator.backward(span, self.state)
        self.state = step.state
        parameters = [*self.model.parameters(), *self.estimator.parameters()]
        self._ranks.average([step.loss, *step.metrics.values()], parameters)
        norm = _clip(self.model, self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.average.update()
        if self._synthesizer_optimizer is not None:
            if self._settings.synthesizer_clip is not None:
                _clip(self.estimator, self._settings.synthesizer_clip)
            self._synthesizer_optimizer.step()
            self._synthesizer_optimizer.zero_grad()
        return step, norm

    def is_finite(self) -> bool:
        """Return True where all parameters of the model are finite."""
        return all(bool(parameter.isfinite().all()) for parameter in self.model.parameters())

    def interface_metrics(self) -> dict[str, float]:
        """Return running means of the quality of the interfaces between levels."""
        return {
            f"interface_{level}_{name}": float(value)
            for level, interface in interfaces_of(self.model).items()
            for name, value in interface.metrics().items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of training beside `average.model`, of all rows; every process has to call it."""
        on_gpu = self.device.type == "cuda"
        return {
            "average": self.average.state_dict(),
            "estimator": self.estimator.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "synthesizer_optimizer": self._synthesizer_optimizer and self._synthesizer_optimizer.state_dict(),
            "state": self._ranks.gather_state(self.state),
            "random": self._ranks.stack(torch.get_rng_state()),
            "random_cuda": self._ranks.stack(torch.cuda.get_rng_state(self.device)) if on_gpu else None,
        }

    def load_state_dict(self, saved: Mapping[str, Any], update: int) -> None:
        """Restore the state: to the bit with as many processes as before, with more or fewer except for dropout.

        `model` has been given what was kept of `average.model`.

        Args:
            saved: with what `state_dict` gave, perhaps among other things.
            update: the update it was saved after.
        """
        self.average.load_state_dict(saved.get("average"))  # which runs of before averages lack
        self.estimator.load_state_dict(saved["estimator"])
        restore_optimizer(self._optimizer, self._recipe.optimizer, saved["optimizer"])
        if self._synthesizer_optimizer is not None:
            restore_optimizer(
                self._synthesizer_optimizer, self._recipe.synthesizer_optimizer, saved["synthesizer_optimizer"]
            )
        self.state = self._ranks.share_state(saved["state"], self._settings.batch_size)
        self._ranks.reseed(self._settings.seed, update)
        if (random := self._ranks.own_of_stack(saved["random"])) is not None:
            torch.set_rng_state(random.cpu())
        if self.device.type == "cuda" and (random := self._ranks.own_of_stack(saved["random_cuda"])) is not None:
            torch.cuda.set_rng_state(random.cpu(), self.device)


def _gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def _clip(module: nn.Module, limit: float | None) -> Tensor:
    """Shrink the module's gradient to the limit, if there is one; return its norm before."""
    if limit is None:
        return nn.utils.get_total_norm(_gradients(module))
    return nn.utils.clip_grad_norm_(module.parameters(), limit)
