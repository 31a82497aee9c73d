"""Truncated back-propagation with synthetic gradients at the boundaries."""

from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.contract.buffers import kept_buffers
from sgrnn.errors import at_least, require_share
from sgrnn.estimators import drift
from sgrnn.estimators.ahead import steps_to_run
from sgrnn.estimators.backward import backpropagate, entering, final_gradients, initial_gradients, injected_share
from sgrnn.estimators.drawn import DrawnRows
from sgrnn.estimators.estimator import BoundaryGradients, GradientEstimator, Step, at_boundaries, looking, within_span
from sgrnn.estimators.features import require_synthesizer
from sgrnn.estimators.fitting import fitting_synthesizer
from sgrnn.estimators.in_order import require_in_order
from sgrnn.estimators.known import BoundaryReader
from sgrnn.estimators.low_memory import synthetic_in_order
from sgrnn.estimators.mixture import SYNTHETIC, Mixture
from sgrnn.estimators.objective import Loss, norms, objective_of
from sgrnn.estimators.reach import injectable
from sgrnn.estimators.targets import training_pairs
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut, floating_leaves, without_autocast
from sgrnn.synthesizers import GradientPredictor, Synthesizer


@final
class SyntheticGradients(GradientEstimator):
    """Truncated back-propagation with synthetic gradients (Jaderberg et al. 2016).

    For window k with first state s_k, last state s_{k+1} and loss L_k, summed over its steps:

        g_{k+1}  = M(s_{k+1}, lookahead)                 held constant; 0 where the row's sequence ends
        minimize L_k + <s_{k+1}, g_{k+1}>                one pass through the window, which also gives
        target_k = dL_k/ds_k + (ds_{k+1}/ds_k)^T g_{k+1}
        minimize |M(s_k, lookahead) - target_k|^2        over M's parameters only

    Gradients are per row, of the row's summed loss, whatever the objective's reduction. M works in units of a running
    root mean square of the targets, and is injected through drift control (`remove_mean`, `remove_radial`), a discount
    and a shrinkage (`sgrnn.Shrinkage`).

    Metrics: ``target_r2`` and ``target_cosine`` of the predictions with their targets, before they were trained on
    them: the targets hold predictions themselves, so that agreement with them is no agreement with the true gradient,
    which `sgrnn.diagnostics` measures; ``shrinkage``, ``target_rms``, ``injected_share``, the norm of what is injected
    over that of all that enters the core backwards, and ``cell_norm``, that of the last state tensor: an LSTM's cell,
    another core's hidden state. All but the last are of the updates in which the synthesizer learns (`learn_every`).

    Precision: the synthesizer works in that of its own parameters, whatever the core's and with autocast off; running
    means and what is computed of them are float32 at least. A boundary at which the state, the steps ahead or the
    target are not finite takes no part: nothing is injected there and nothing learned.

    Args:
        model, loss: as `GradientEstimator`.
        window: T, steps back-propagated together.
        synthesizer: M. Its parameters are this estimator's parameters. None for one that fits the model: what its
            method ``synthesizer(lookahead)`` makes, or an `ErrorSynthesizer` in the precision (float32 at least) and on
            the device of the model.
        lookahead: n, the steps ahead that such a synthesizer sees; None for 8.
        example: some inputs (time, batch, ...), for a model whose layers do not tell what it reads.
        run_ahead: steps that the model is run beyond the span, to know the output gradients there too; None for as
            many as the synthesizer sees, or for none where their targets do. With 0 one that sees them knows those
            inside the span, predicts nothing at its end, and needs no `Span.future`. One that sees none is not
            concerned. Random generators and the model's buffers (batch statistics) are put back afterwards.
        ahead: "targets" to take the output gradients of the steps that the model is not run over from their targets
            alone, by its method ``target_gradients`` (`sgrnn.estimators.ahead.from_targets`); "model" for none beyond
            those. None for targets where the loss is the model's own, its state more than its core's outputs, as a
            GRU's is not, `run_ahead` is None, and the synthesizer has no window of its own.
        trace_decay: lambda of TD(lambda). Inside a span what crosses a boundary is (1 - lambda) x the prediction +
            lambda x the gradient that arrives there from the next window, and so are the targets weighted over the
            windows of the span: 0 bootstraps at every boundary, 1 at the span's end alone. Above 0 the windows run one
            by one.
        discount: factor on the injected gradient. As one backward pass serves both, it is the discount of the
            bootstrap and the injection scale (0.1 in public implementations) at once.
        remove_mean: remove the mean, over all boundaries and rows of the span together, of what is injected; with an
            `AdjointSynthesizer`, which predicts at one boundary after the other, over the rows at each by itself.
        remove_radial: remove what is injected along the state itself; None for everywhere but in a state of one tensor
            as wide as the outputs, as a GRU's, with an `ErrorSynthesizer` or a `DiagonalSynthesizer`.
        shrinkage: multiply by `sgrnn.Shrinkage`; without, predictions are trusted from the first update.
        shuffle: give every row the prediction made for another one, at any boundary; with an `AdjointSynthesizer` at
            the same. A control, for asking whether the predictions help or merely the noise they bring; never of use
            otherwise. What is injected enters the targets, so that the synthesizer of such a run learns from shuffled
            predictions: they are another synthesizer's, not those of a run without this in other rows.
        parallel: run a span's windows as one batch (`sgrnn.estimators.unroll.unroll`); None for where that is faster.
        low_memory: go backwards through a window as soon as the output gradients of the `lookahead` steps after its end
            are known, so that ceil(n/T) + 1 windows have a graph at a time, however long the span: the same numbers.
            The loss is called window by window, which takes longer where its output layer is large.
        ema_decay: decay of the running means (target scale and shrinkage), per update.
        learn_every: let the synthesizer learn in all of the first 1,000 updates, and later in one of so many, drawn by
            their number, which takes less time; what it predicts is injected in all.
        all_reduce: sums over the processes, where several share a batch (`sgrnn.all_reduce`): running means, shrinkage,
            the mean that is removed and the metrics above are then those of all rows, and the mean over the processes
            of the synthesizer's gradients is its gradient, as that of the model's is the model's. `shuffle` stays
            within a process.
    """

    predicts = True

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        window: int,
        *,
        synthesizer: Synthesizer | None = None,
        lookahead: int | None = None,
        example: Any = None,
        run_ahead: int | None = None,
        ahead: str | None = None,
        trace_decay: float = 0.0,
        discount: float = 1.0,
        remove_mean: bool = False,
        remove_radial: bool | None = None,
        shrinkage: bool = True,
        shuffle: bool = False,
        parallel: bool | None = False,
        low_memory: bool = False,
        ema_decay: float = 0.99,
        learn_every: int = 1,
        all_reduce: AllReduce | None = None,
    ) -> None:
        super().__init__(model, loss)
        if synthesizer is None:
            synthesizer = fitting_synthesizer(model, 8 if lookahead is None else lookahead, example)
        elif not isinstance(synthesizer, Synthesizer):
            raise TypeError(f"synthesizer must be a sgrnn.Synthesizer, got a {type(synthesizer).__name__}")
        elif lookahead is not None or example is not None:
            raise ValueError("lookahead and example are for the synthesizer that is made where none is given")
        require_share("discount", discount)
        require_share("trace_decay", trace_decay)
        self.window = at_least("window", window, 1, "step")
        self.predictor = GradientPredictor(
            synthesizer, shrinkage=shrinkage, ema_decay=ema_decay, all_reduce=all_reduce, learn_every=learn_every
        )
        synthesizer.require_window(window)
        if low_memory:
            require_in_order(
                parallel=parallel, remove_mean=remove_mean, shuffle=shuffle, trace_decay=trace_decay > 0,
                **{f"an {type(synthesizer).__name__}": synthesizer.window is not None},
            )  # fmt: skip
        run, ahead = steps_to_run(model, loss, synthesizer, run_ahead, ahead)
        self.lookahead = run if ahead == "model" and synthesizer.sees_output_gradients else synthesizer.lookahead
        self.trace_decay, self.discount, self.shuffle, self.parallel = trace_decay, discount, shuffle, parallel
        self.remove_mean, self.remove_radial, self.low_memory = remove_mean, remove_radial, low_memory
        self.reader = BoundaryReader(self.lookahead, run)

    @property
    def synthesizer(self) -> Synthesizer:
        """The synthesizer, M, that predicts and is trained."""
        assert isinstance(self.predictor.synthesizer, Synthesizer), "checked when the estimator was made"
        return self.predictor.synthesizer

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of model and synthesizer; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the synthesizer does not fit the model, or the span has no future.
        """
        return self.backward_mixed(span, state, SYNTHETIC)

    @within_span
    def backward_mixed(self, span: Span, state: State, mixture: Mixture) -> Step:
        """Run a span as `backward` does, with the mixture's shares of synthetic and real gradients.

        Raises:
            ValueError: besides, a share or a window of the mixture is out of range.
        """
        span, state = self.begin(span, state)
        require_synthesizer(self.synthesizer, self.model, state)
        window = self.window if mixture.window is None else at_least("window", mixture.window, 1, "step")
        assert window is not None, "checked when the estimator was made"
        self.synthesizer.require_window(window)
        mixture.require_possible(window)
        carries = mixture.carries(window, self.trace_decay)
        if self.low_memory:
            real = carries or bool(mixture.drawn)
            require_in_order(parallel=False, **{"real gradients that cross boundaries": real})
            inject = partial(self._inject, share=mixture.share)
            return synthetic_in_order(self, self.predictor, self.reader, inject, span, state, window)
        tokens = span.size
        windows = unroll(self.model, span, state, window, False if carries else self.parallel)
        # Backwards in two parts, from the loss to the outputs and from the outputs on, because what is injected may
        # depend on the gradients at the outputs.
        outputs = cut(windows.outputs)
        objective = objective_of(self.model, self.loss, outputs, span)
        objective.trained.backward()
        learns = self.predictor.begin()
        known = self.reader.read(self.predictor, self.loss, span, windows, outputs, learns)
        drawn = DrawnRows(self.model, span, state, window, mixture.drawn) if mixture.drawn else None
        with without_autocast(span.device):
            scale = self.predictor.scale
            with torch.set_grad_enabled(learns):
                predictions = self.predictor.predict(known, self._inject)
            injected, true, metrics = predictions.injected / tokens, None, {}
            if drawn is not None:
                injected, true, metrics["drawn_r2"] = drawn.correct(injected, outputs)
            injected = mixture.weigh(injected, span.batch_size, self.trace_decay)
            entered = injected if (mask := injectable(windows)) is None else injected * mask
            carried = mixture.carried(windows.boundaries, self.trace_decay) if carries else ()
            backpropagate(windows, outputs, entered, carried)
            if not learns:
                return Step(objective.loss, windows.final_state, {**metrics, **norms(windows.final_state)})
            target = initial_gradients(windows) * tokens
            if true is not None:
                target.unflatten(0, (-1, span.batch_size))[:, list(mixture.drawn)] = true.to(target) * tokens
            ends = None
            if self.synthesizer.window is not None:
                ends = final_gradients(injected * tokens, target, carried, span.batch_size, mixture.drawn)
            metrics |= self.predictor.learn(*training_pairs(self.predictor, predictions, known, scale, target, ends))
            metrics["injected_share"] = injected_share(entering(entered, outputs), self.predictor.all_reduce)
        return Step(objective.loss, windows.final_state, {**metrics, **norms(windows.final_state)})

    @looking
    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Return the gradients that would cross the boundaries of a span; see `GradientEstimator.look`."""
        span, state = self.begin(span, state)
        require_synthesizer(self.synthesizer, self.model, state)
        with torch.no_grad():
            windows = unroll(self.model, span, state, self.window)
        outputs = cut(windows.outputs)
        objective = objective_of(self.model, self.loss, outputs, span)
        torch.autograd.backward(objective.trained, inputs=floating_leaves(outputs))
        with kept_buffers(self):
            known = self.reader.read(self.predictor, self.loss, span, windows, outputs)
            with torch.no_grad(), without_autocast(span.device):
                scale = self.predictor.scale
                predictions = self.predictor.predict(known, self._inject)
                before = self.synthesizer.trainable(predictions, known, scale, predictions.injected)
                predicted = scale * torch.cat([before[: span.batch_size, 0], predictions.after])
        return at_boundaries(windows, span, predicted, predictions.injected)

    def _inject(self, gradient: Tensor, states: State, continuing: Tensor | None, share: float = 1.0) -> Tensor:
        """Turn predictions (R, features) into injected gradients, by drift control, discount and shrinkage."""
        if self.shuffle:
            gradient = gradient[torch.randperm(gradient.shape[0], device=gradient.device)]
        if self.remove_mean:
            gradient = drift.remove_mean(gradient, continuing, self.predictor.all_reduce)
        if drift.removes_radial(self.remove_radial, states, self.synthesizer):
            gradient = drift.remove_radial(gradient, states)
        gradient = gradient * self.predictor.trust
        if (factor := self.discount * share) != 1:
            gradient = gradient * factor
        return gradient if continuing is None else gradient * continuing.unsqueeze(1)

    def extra_repr(self) -> str:
        return f"window={self.window}, discount={self.discount}, learn_every={self.predictor.learn_every}"
