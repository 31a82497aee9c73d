"""The training loop, written out once.

It knows neither which gradient estimator it runs nor what is learned. An update is: a span from the problem,
`estimator.backward`, clip, step (`Learner.learn`). Around it stand four things that happen now and then: log, diagnose,
evaluate, and save; a model whose evaluation is the best so far is saved, so that the best metrics of a run are those of
weights it keeps. Where several processes train one run, each takes its rows of every span, and `Ranks` averages their
gradients, losses and metrics. So all of them come to the same decisions.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, final

from sgrnn.config.files import dump_recipe
from sgrnn.config.rates import length_factor, rate_factor
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.about import ABOUT, about
from sgrnn.training.belonging import require_belonging
from sgrnn.training.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from sgrnn.training.diagnosis import passing_metrics
from sgrnn.training.distributed import ALONE, Ranks
from sgrnn.training.fingerprint import present_conditions
from sgrnn.training.kept import keep
from sgrnn.training.learner import Learner
from sgrnn.training.problems.problem import Problem, selection_score
from sgrnn.training.progress import Progress
from sgrnn.training.run import Run
from sgrnn.training.running_metrics import Diverged, RunningMetrics
from sgrnn.training.start import keep_start, load_start

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
        The model after the last update, of averaged weights where the recipe asks for them.

    Raises:
        InputError: text, task or recipe are not those the run began with, training diverges, or a file cannot be
            written.
        Interrupted: `stop` said so; a checkpoint was saved.
        ProcessLost: another process has ended.
    """
    training = _Training(run, problem, report, ranks)
    settings, progress, observed = run.recipe.training, training.progress, training.observed
    updates = settings.epochs * problem.updates_per_epoch
    updates = min(updates, settings.max_updates or updates)
    done = progress.update >= updates or progress.out_of_patience(settings.patience)
    try:
        while not done:
            learning_rate = run.recipe.optimizer.learning_rate * rate_factor(
                run.recipe.schedule, training.epoch, settings.epochs, progress.scores
            )
            span = problem.draw()
            step, norm = training.learner.learn(span, learning_rate * length_factor(run.recipe, span.steps))
            progress.update += 1
            observed.add({"loss": step.loss, "gradient_norm": norm, **step.metrics, **problem.observe(step)})

            ended = progress.every(problem.updates_per_epoch)
            done = progress.update >= updates
            stopped = ranks.any(stop())
            best = False
            if progress.every(settings.log_every) or ended or done:
                training.log_metrics(learning_rate)
            with progress.clock.standing_still():
                if settings.diagnosis is not None and progress.every(settings.diagnosis.every):
                    training.diagnose()
                if progress.every(settings.evaluate_every) or ended or done:
                    best = training.evaluate(ends_epoch=ended)
                    done = done or progress.out_of_patience(settings.patience)
                if progress.every(settings.checkpoint_every) or ended or done or stopped or best:
                    training.save()
            if stopped and not done:
                raise Interrupted
    except Diverged as error:
        training.log_divergence(error)
        raise
    return training.learner.average.model


@final
class _Training:
    """A run in training, with what happens beside its updates: logging, diagnosis, evaluation and saving.

    It begins where the latest checkpoint stands.
    """

    def __init__(self, run: Run, problem: Problem, report: Report, ranks: Ranks) -> None:
        self._run, self._problem, self._report, self._ranks = run, problem, report, ranks
        self._recipe = dump_recipe(run.recipe)
        self.learner = Learner(run.recipe, problem, ranks)
        self.progress, self.observed = Progress(), RunningMetrics()
        checkpoint = latest_checkpoint(run.checkpoints)
        if checkpoint is not None:
            self._load(checkpoint)
        elif run.recipe.model.start_from is not None:
            with ranks.leader_first():
                if ranks.leads:
                    keep_start(run)
                load_start(run, self.learner.model, self.learner.estimator)
        if ranks.leads:
            run.forget_after(self.progress.update)
            run.keep_recipe()
            run.keep_fingerprint(
                problem.texts, present_conditions(self.learner.device, ranks.world_size, self.progress.update)
            )
            keep(run, ABOUT, about(problem, self.learner))

    @property
    def epoch(self) -> float:
        """Number of epochs trained so far, a fraction inside an epoch."""
        return self.progress.update / self._problem.updates_per_epoch

    def log_metrics(self, learning_rate: float) -> None:
        """Log the means of what was observed since the last time.

        Raises:
            Diverged: a loss or a gradient was not finite.
        """
        means = self.observed.means(self.progress.update, self.progress.clock.seconds)
        self._log({"learning_rate": learning_rate, **means, **self.learner.interface_metrics()})

    def log_divergence(self, error: Diverged) -> None:
        """Log the update at which training diverged; going on drops it with what else came after the checkpoint."""
        self._log({"diverged": error.update})

    def diagnose(self) -> None:
        """Log metrics against the true gradient: every process measures all rows, whose next spans are whole."""
        settings = self._run.recipe.training.diagnosis
        assert settings is not None, "asked for"
        state = self._ranks.gather_state(self.learner.state)
        self._log(passing_metrics(self.learner.estimator, self._problem, state, settings))

    def evaluate(self, ends_epoch: bool) -> bool:
        """Log the score on the valid split, and return True where it is the best so far.

        Raises:
            Diverged: its loss is not finite.
        """
        average = self.learner.average
        score = self._problem.score(average.model, "valid", self._ranks)
        if not isfinite(score["loss"]):
            raise self.observed.diverged(f"the validation loss is {score['loss']}", self.progress.update)
        best = self.progress.add_score(selection_score(score), ends_epoch)
        self._log({**{f"valid_{name}": value for name, value in score.items()}, **average.metrics()})
        if ends_epoch:
            average.observe(self.progress.scores)
        return best

    def save(self) -> None:
        """Save a checkpoint.

        Raises:
            Diverged: a loss, a gradient or a parameter is not finite.
            InputError: it cannot be written.
        """
        self.observed.require_finite(self.progress.update)
        if not self.learner.is_finite():
            raise self.observed.diverged("a parameter of the model is not finite", self.progress.update)
        state = {**self.learner.state_dict(), **self._problem.state_dict(), "observed": self.observed.values}
        progress = {**self.progress.state_dict(), self._problem.kind: self._problem.identity}
        if self._ranks.leads:
            save_checkpoint(self._run.checkpoints, self.learner.average.model, state, self._recipe, progress)

    def _load(self, checkpoint: Checkpoint) -> None:
        require_belonging(checkpoint, self._run, self._problem)
        checkpoint.load_model(self.learner.model)
        saved = checkpoint.load_state(self.learner.device)
        try:
            self.progress = Progress.of(checkpoint.progress)
            self.observed = RunningMetrics(self.progress.clock.seconds, saved["observed"])
            self._problem.load_state_dict(saved)
            self.learner.load_state_dict(saved, self.progress.update)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise checkpoint.of_another_version(error) from None

    def _log(self, metrics: dict[str, Any]) -> None:
        if not self._ranks.leads:
            return
        seconds = round(self.progress.clock.seconds, 3)
        record = {"update": self.progress.update, "epoch": self.epoch, "seconds": seconds, **metrics}
        self._run.log(record)
        self._report(record)
