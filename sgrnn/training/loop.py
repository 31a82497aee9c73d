"""The training loop, written out once.

It knows neither which gradient estimator it runs nor what is learned. An update is: a span from the problem,
`estimator.backward`, clip, step. Around it stand four things that happen now and then: log, diagnose, evaluate, and
save; what was evaluated better than all before is saved, so that the best figures of a run are those of weights it
keeps. Where several processes train one run, each takes its rows of every span, and `ranks` makes of what they found
what one
process would have: the gradients, the loss, the figures. So all of them come to the same decisions.
"""

from collections.abc import Callable
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.analysis.diagnosis import passing_metrics
from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.model import interfaces_of
from sgrnn.config.build.optimizer import build_optimizer, choose_device
from sgrnn.config.files import dump_recipe
from sgrnn.config.rates import rate_factor
from sgrnn.errors import InputError
from sgrnn.estimators import Step
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.checkpoints import latest_checkpoint, save_checkpoint
from sgrnn.training.distributed import ALONE, Ranks
from sgrnn.training.fit import require_fit
from sgrnn.training.problems.problem import Problem, rank
from sgrnn.training.run import Run
from sgrnn.training.running_metrics import RunningMetrics

Report = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop, and did, after saving."""


def train(
    run: Run, problem: Problem, report: Report, stop: Callable[[], bool] = lambda: False, ranks: Ranks = ALONE
) -> SequenceModel:
    """Train a run to its end, from its latest checkpoint if it has one.

    Args:
        run: the run folder.
        problem: what its recipe says is to be learned.
        report: called with every record that is logged.
        stop: asked after every update whether to stop early.
        ranks: the processes that train it together; the first alone writes and reports.

    Returns:
        The model after the last update.

    Raises:
        InputError: text, task or recipe are not those the run began with, training diverges, or a file cannot be
            written.
        Interrupted: `stop` said so; a checkpoint was saved.
        ProcessLost: another process has ended.
    """
    recipe = run.recipe
    settings = recipe.training
    device = choose_device(settings.device, ranks.local, ranks.local_size)
    torch.manual_seed(settings.seed)
    model = problem.build_model().to(device)
    updates_per_epoch = problem.updates_per_epoch
    estimator = build_estimator(recipe, model, updates_per_epoch, ranks.all_reduce).to(device)
    optimizer = build_optimizer(recipe.optimizer, model)
    assert optimizer is not None, "a model has parameters"
    synthesizer_optimizer = build_optimizer(recipe.synthesizer_optimizer, estimator)
    problem.start(estimator.lookahead)
    state = model.initial_state(ranks.held(settings.batch_size))
    ranks.reseed(settings.seed, update=0)
    interval = RunningMetrics()
    progress: dict[str, Any] = {  # losses: what `rank` makes of the score after each epoch, a text's loss
        "update": 0, "seconds": 0.0, "losses": [], "best_update": None, "best_rank": None,
        problem.kind: problem.identity,
    }  # fmt: skip

    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is not None:
        require_fit(checkpoint, run, problem)
        checkpoint.load_model(model)
        saved = checkpoint.load_state(device)
        try:
            estimator.load_state_dict(saved["estimator"])
            optimizer.load_state_dict(saved["optimizer"])
            if synthesizer_optimizer is not None:
                synthesizer_optimizer.load_state_dict(saved["synthesizer_optimizer"])
            state = ranks.share_state(saved["state"], settings.batch_size)
            problem.load_state_dict(saved)
            ranks.reseed(settings.seed, checkpoint.progress["update"])
            if (drawn := ranks.of_stack(saved["random"])) is not None:
                torch.set_rng_state(drawn.cpu())
            if device.type == "cuda" and (drawn := ranks.of_stack(saved["random_cuda"])) is not None:
                torch.cuda.set_rng_state(drawn.cpu(), device)
            # best_rank is missing where only the ends of epochs were selected from
            known = {"best_rank": min(checkpoint.progress["losses"], default=None)} | checkpoint.progress
            progress = {key: known[key] for key in progress}
            interval = RunningMetrics(progress["seconds"], saved["interval"])
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{checkpoint.folder / 'state.pt'} was written by another version: {error}") from None
    if ranks.leads:
        run.forget_after(progress["update"])
        run.keep_texts(problem.texts)
    model.train()
    resolved = dump_recipe(recipe)

    def save() -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            raise interval.diverged("a parameter of the model is not finite", progress["update"])
        saved = {
            "estimator": estimator.state_dict(),
            "optimizer": optimizer.state_dict(),
            "synthesizer_optimizer": synthesizer_optimizer and synthesizer_optimizer.state_dict(),
            "state": ranks.gather_state(state),
            **problem.state_dict(),
            "interval": interval.values,
            "random": ranks.stack(torch.get_rng_state()),
            "random_cuda": ranks.stack(torch.cuda.get_rng_state(device)) if device.type == "cuda" else None,
        }
        if ranks.leads:
            save_checkpoint(run.checkpoints, model, saved, resolved, progress)

    def log(record: dict[str, Any]) -> None:
        if not ranks.leads:
            return
        record = {"update": progress["update"], "epoch": epoch(), "seconds": round(clock(), 3), **record}
        run.log(record)
        report(record)

    def epoch() -> float:
        return progress["update"] / updates_per_epoch

    began = perf_counter() - progress["seconds"]

    def clock() -> float:
        """Seconds spent on training, diagnoses, evaluations and saves left out."""
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
        span = ranks.share(problem.draw()).to(device)
        step = estimator.backward(model, model.loss, span, state)
        state = step.state
        ranks.average(_found(step, model, estimator))
        norm = _clip(model, settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        if synthesizer_optimizer is not None:
            if settings.synthesizer_clip is not None:
                _clip(estimator, settings.synthesizer_clip)
            synthesizer_optimizer.step()
            synthesizer_optimizer.zero_grad()
        progress["update"] += 1
        interval.add({"loss": step.loss, "gradient_norm": norm, **step.metrics, **problem.observe(step)})

        ended = progress["update"] % updates_per_epoch == 0
        done = progress["update"] >= updates
        stopped = ranks.any(stop())
        due = progress["update"] % settings.checkpoint_every == 0
        if progress["update"] % settings.log_every == 0 or ended or done:
            log({"learning_rate": rate, **interval.means(progress["update"], clock()), **_interface_metrics(model)})
        if settings.diagnosis is not None and progress["update"] % settings.diagnosis.every == 0:
            progress["seconds"] = clock()
            # by every process on all rows: the next spans are whole, and sums over processes leave means as they are
            log(passing_metrics(estimator, model, problem, ranks.gather_state(state), settings.diagnosis))
            began = perf_counter() - progress["seconds"]
        scored = settings.evaluate_every is not None and progress["update"] % settings.evaluate_every == 0
        better = False
        if ended or done or scored:
            progress["seconds"] = clock()
            score = problem.score(model, "valid", ranks)
            if not isfinite(score["loss"]):
                raise interval.diverged(f"the validation loss is {score['loss']}", progress["update"])
            began = perf_counter() - progress["seconds"]
            better = progress["best_rank"] is None or rank(score) < progress["best_rank"]
            if better:
                progress |= {"best_update": progress["update"], "best_rank": rank(score)}
            if ended:
                progress["losses"].append(rank(score))
            log({f"valid_{name}": value for name, value in score.items()})
            done = done or _out_of_patience(progress["losses"], settings.patience)
        if due or ended or done or stopped or better:
            interval.require_finite(progress["update"])
            progress["seconds"] = clock()
            save()
            began = perf_counter() - progress["seconds"]
        if stopped and not done:
            raise Interrupted
    return model


def _found(step: Step, *modules: nn.Module) -> list[Tensor]:
    """All that an update found out about its rows: gradients, loss and figures, each a mean over them."""
    gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    return [*gradients, step.loss, *step.metrics.values()]


def _interface_metrics(model: SequenceModel) -> dict[str, float]:
    """How good the interfaces between levels are; running means already, so that the latest will do."""
    return {
        f"interface_{level}_{name}": float(value)
        for level, interface in interfaces_of(model).items()
        for name, value in interface.metrics().items()
    }


def _clip(module: nn.Module, limit: float | None) -> Tensor:
    """Shrink the module's gradient to the limit, if there is one; returns its norm before."""
    if limit is None:
        return nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    return nn.utils.clip_grad_norm_(module.parameters(), limit)


def _out_of_patience(losses: list[float], patience: int | None) -> bool:
    return patience is not None and len(losses) - losses.index(min(losses)) > patience if losses else False
