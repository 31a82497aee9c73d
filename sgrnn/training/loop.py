"""The training loop, written out once.

It knows neither which gradient policy it runs nor what is learned. An update is: a span from the problem,
`policy.backward`, clip, step. Around it stand four things that happen now and then: log, diagnose, save, and at the
end of an epoch evaluate.
"""

from collections.abc import Callable
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.errors import InputError
from sgrnn.sequence_model import SequenceModel
from sgrnn.training.build import build_optimizer, build_policy, choose_device
from sgrnn.training.checkpoints import latest_checkpoint, save_checkpoint
from sgrnn.training.diagnosis import passing_figures
from sgrnn.training.fit import require_fit
from sgrnn.training.interval import Interval
from sgrnn.training.problem import Problem, rank
from sgrnn.training.rates import rate_factor
from sgrnn.training.recipe_files import dump_recipe
from sgrnn.training.run import Run

Report = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop, and did, after saving."""


def train(run: Run, problem: Problem, report: Report, stop: Callable[[], bool] = lambda: False) -> SequenceModel:
    """Train a run to its end, from its latest checkpoint if it has one.

    Args:
        run: the run folder.
        problem: what its recipe says is to be learned.
        report: called with every record that is logged.
        stop: asked after every update whether to stop early.

    Returns:
        The model after the last update.

    Raises:
        InputError: text, task or recipe are not those the run began with, training diverges, or a file cannot be
            written.
        Interrupted: `stop` said so; a checkpoint was saved.
    """
    recipe = run.recipe
    settings = recipe.training
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    model = problem.build_model().to(device)
    updates_per_epoch = problem.updates_per_epoch
    policy = build_policy(recipe, model, updates_per_epoch).to(device)
    optimizer = build_optimizer(recipe.optimizer, model)
    assert optimizer is not None, "a model has parameters"
    synthesizer_optimizer = build_optimizer(recipe.synthesizer_optimizer, policy)
    problem.start(policy.lookahead_steps)
    state = model.initial_state(settings.batch_size)
    interval = Interval()
    progress: dict[str, Any] = {  # losses: what `rank` makes of the scores, a text's loss
        "update": 0, "seconds": 0.0, "losses": [], "best_update": None, problem.kind: problem.identity
    }  # fmt: skip

    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is not None:
        require_fit(checkpoint, run, problem)
        checkpoint.load_model(model)
        saved = checkpoint.load_state(device)
        try:
            policy.load_state_dict(saved["policy"])
            optimizer.load_state_dict(saved["optimizer"])
            if synthesizer_optimizer is not None:
                synthesizer_optimizer.load_state_dict(saved["synthesizer_optimizer"])
            state = saved["state"]
            problem.load_state_dict(saved)
            torch.set_rng_state(saved["random"].cpu())
            if device.type == "cuda" and saved["random_cuda"] is not None:
                torch.cuda.set_rng_state(saved["random_cuda"].cpu(), device)
            progress = {key: checkpoint.progress[key] for key in progress}
            interval = Interval(progress["seconds"], saved["interval"])
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{checkpoint.folder / 'state.pt'} was written by another version: {error}") from None
    run.forget_after(progress["update"])
    model.train()
    resolved = dump_recipe(recipe)

    def save() -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            raise interval.diverged("a parameter of the model is not finite", progress["update"])
        save_checkpoint(
            run.checkpoints,
            model,
            {
                "policy": policy.state_dict(),
                "optimizer": optimizer.state_dict(),
                "synthesizer_optimizer": synthesizer_optimizer and synthesizer_optimizer.state_dict(),
                "state": state,
                **problem.state_dict(),
                "interval": interval.values,
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            },
            resolved,
            progress,
        )

    def log(record: dict[str, Any]) -> None:
        record = {"update": progress["update"], "epoch": epoch(), "seconds": round(clock(), 3), **record}
        run.log(record)
        report(record)

    def epoch() -> float:
        return progress["update"] / updates_per_epoch

    began = perf_counter() - progress["seconds"]

    def clock() -> float:
        """Seconds spent on training, diagnoses and evaluations left out."""
        return perf_counter() - began

    updates = settings.epochs * updates_per_epoch
    updates = min(updates, settings.max_updates or updates)
    done = progress["update"] >= updates or _out_of_patience(progress["losses"], settings.patience)
    while not done:
        rate = recipe.optimizer.learning_rate * rate_factor(
            recipe.schedule, epoch(), settings.epochs, progress["losses"]
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        span = problem.draw().to(device)
        step = policy.backward(model, model.loss, span, state)
        state = step.state
        norm = _clip(model, settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        if synthesizer_optimizer is not None:
            if settings.synthesizer_clip is not None:
                _clip(policy, settings.synthesizer_clip)
            synthesizer_optimizer.step()
            synthesizer_optimizer.zero_grad()
        progress["update"] += 1
        interval.add({"loss": step.loss, "gradient_norm": norm, **step.figures, **problem.observe(step)})

        ended = progress["update"] % updates_per_epoch == 0
        done = progress["update"] >= updates
        stopped = stop()
        due = progress["update"] % settings.checkpoint_every == 0
        if progress["update"] % settings.log_every == 0 or ended or done:
            log({"learning_rate": rate, **interval.means(progress["update"], clock())})
        if settings.diagnosis is not None and progress["update"] % settings.diagnosis.every == 0:
            progress["seconds"] = clock()
            log(passing_figures(policy, model, problem, state, settings.diagnosis))
            began = perf_counter() - progress["seconds"]
        scored = settings.evaluate_every is not None and progress["update"] % settings.evaluate_every == 0
        if ended or done or scored:
            progress["seconds"] = clock()
            score = problem.score(model, "valid")
            if not isfinite(score["loss"]):
                raise interval.diverged(f"the validation loss is {score['loss']}", progress["update"])
            began = perf_counter() - progress["seconds"]
            if (ended or done) and rank(score) < min(progress["losses"], default=float("inf")):
                progress["best_update"] = progress["update"]
            if ended:
                progress["losses"].append(rank(score))
            log({f"valid_{name}": value for name, value in score.items()})
            done = done or _out_of_patience(progress["losses"], settings.patience)
        if due or ended or done or stopped:
            interval.require_finite(progress["update"])
            progress["seconds"] = clock()
            save()
        if stopped and not done:
            raise Interrupted
    return model


def _clip(module: nn.Module, limit: float | None) -> Tensor:
    """Shrink the module's gradient to the limit, if there is one; returns its norm before."""
    if limit is None:
        return nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    return nn.utils.clip_grad_norm_(module.parameters(), limit)


def _out_of_patience(losses: list[float], patience: int | None) -> bool:
    return patience is not None and len(losses) - losses.index(min(losses)) > patience if losses else False
