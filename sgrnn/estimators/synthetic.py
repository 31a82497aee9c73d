"""Synthetic gradients: `SyntheticGradients.backward` is the algorithm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce, mean
from sgrnn.estimators import ahead
from sgrnn.estimators.ahead import first_steps, require_future
from sgrnn.estimators.backward import backpropagate, first_gradients
from sgrnn.estimators.boundary_gradients import BoundaryGradients
from sgrnn.estimators.estimator import GradientEstimator, Step, positive
from sgrnn.estimators.finite import finite_lookahead, finite_rows, finite_states, is_finite
from sgrnn.estimators.objective import Loss, errors, mean_loss, norms
from sgrnn.estimators.predictions import Boundaries, Predictions, predict_at_once, predict_in_turn, require_size
from sgrnn.estimators.reach import injectable
from sgrnn.estimators.regression import injected_share, quality, regress
from sgrnn.estimators.rows import open_rows_at
from sgrnn.estimators.unroll import Unrolled, unroll
from sgrnn.span import Span
from sgrnn.state import State, at_least_float32, cut, floating_leaves, map_state, without_autocast
from sgrnn.synthesizers import AdjointSynthesizer, Follower
from sgrnn.synthesizers.features import fit_features
from sgrnn.synthesizers.injection import Shrinkage, remove_mean, remove_radial
from sgrnn.synthesizers.lookahead import Lookahead, look_ahead
from sgrnn.synthesizers.running_means import Statistics


class SyntheticGradients(GradientEstimator, Statistics):
    """Truncated back-propagation with synthetic gradients (Jaderberg et al. 2016).

    For window k with first state s_k, last state s_{k+1} and loss L_k, summed over its steps:

        g_{k+1}  = M(s_{k+1}, lookahead)                 held constant; 0 where the row's sequence ends
        minimize L_k + <s_{k+1}, g_{k+1}>                one pass through the window, which also gives
        target_k = dL_k/ds_k + (ds_{k+1}/ds_k)^T g_{k+1}
        minimize |M(s_k, lookahead) - target_k|^2        over M's parameters only

    Gradients are per row, of the row's summed loss, whatever the objective's reduction. The prediction is divided
    by a running root mean square of the targets, and injected through drift control (`remove_mean`, `remove_radial`), a
    discount and a gate (`sgrnn.synthesizers.injection`).

    Figures: ``target_r2`` and ``target_cosine`` of the predictions with their targets, before they were trained on
    them: the targets hold predictions themselves, so that agreement with them is no agreement with the true gradient,
    which `sgrnn.diagnostics` measures; ``shrinkage``, ``target_rms``, ``injected_share``, the norm of what is injected
    over that of all that enters the core backwards, and ``cell_norm``, that of the last state tensor: an LSTM's cell,
    another core's hidden state.

    Precision: the synthesizer works in that of its own parameters, whatever the core's and with autocast off; running
    means and what is computed of them are float32 at least. A boundary at which the state, the steps ahead or the
    target are not finite takes no part: nothing is injected there and nothing learned.

    Args:
        window: T, steps back-propagated together.
        synthesizer: M, as `sgrnn.synthesizers` describes. Its parameters are this estimator's parameters.
        run_ahead: steps that the model is run beyond the span, to know the errors there too; None for as many as the
            synthesizer sees. With 0 one that sees errors knows those inside the span, predicts nothing at its end,
            and needs no `Span.future`. One that sees none is not concerned. Random generators and the model's buffers
            (batch statistics) are put back afterwards.
        trace_decay: lambda of TD(lambda). Inside a span what crosses a boundary is (1 - lambda) x the prediction +
            lambda x the gradient that arrives there from the next window, and so are the targets weighted over the
            windows of the span: 0 bootstraps at every boundary, 1 at the span's end alone. Above 0 the windows run one
            by one.
        discount: factor on the injected gradient. As one backward pass serves both, it is the discount of the
            bootstrap and the injection scale (0.1 in public implementations) at once.
        center: remove the mean, over all boundaries and rows of the span together, of what is injected; with an
            `AdjointSynthesizer`, which is asked at one boundary after the other, over the rows at each by itself.
        tangent: remove what is injected along the state itself.
        shrinkage: multiply by `sgrnn.synthesizers.injection.Shrinkage`; without, predictions are trusted from the first
            update.
        follow_rate, follow_every: bootstrap from a copy of the synthesizer that goes this share of the way
            towards it every so many updates (`sgrnn.synthesizers.Follower`); 1 and 1 for none. The figures and the
            gate are those of the synthesizer, which is ahead of its copy.
        shuffle: give every row the prediction made for another one, at any boundary; with an `AdjointSynthesizer` at
            the same. A control, for asking whether the predictions help or merely the noise they bring; never of use
            otherwise. What is injected enters the targets, so that the synthesizer of such a run learns from shuffled
            predictions: they are another synthesizer's, not those of a run without this in other rows.
        parallel: run a span's windows as one batch (`sgrnn.estimators.unroll.unroll`); None for where that is faster.
        ema_decay: of the running means (target scale and gate), per update.
        all_reduce: sums over the processes, where several share a batch (`sgrnn.all_reduce`): running means, gate,
            centering and the figures above are then those of all rows, and the mean over the processes of the
            synthesizer's gradients is its gradient, as that of the model's is the model's. `shuffle` stays within a
            process.
    """

    mean_square: Tensor
    error_square: Tensor
    updates: Tensor

    def __init__(
        self,
        window: int,
        synthesizer: nn.Module,
        *,
        run_ahead: int | None = None,
        trace_decay: float = 0.0,
        discount: float = 1.0,
        remove_mean: bool = False,
        remove_radial: bool = True,
        shrinkage: bool = True,
        follow_rate: float = 1.0,
        follow_every: int = 1,
        shuffle: bool = False,
        parallel: bool | None = False,
        ema_decay: float = 0.99,
        all_reduce: AllReduce | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be in [0, 1], got {discount}")
        if not 0 <= trace_decay <= 1:
            raise ValueError(f"trace_decay must be in [0, 1], got {trace_decay}")
        if not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1), got {ema_decay}")
        if run_ahead is not None and run_ahead < 0:
            raise ValueError(f"run_ahead must be at least 0 steps, got {run_ahead}")
        self.window = positive("window", window)
        self.synthesizer = synthesizer
        self.sees_errors = getattr(synthesizer, "sees_errors", False)
        self.seen_steps: int = getattr(synthesizer, "lookahead", 0)
        self.chained = isinstance(synthesizer, AdjointSynthesizer)
        if self.chained and self.seen_steps != window:
            raise ValueError(f"window must be that of the synthesizer, {self.seen_steps} steps, got {window}")
        if self.chained and (follow_rate, follow_every) != (1.0, 1):
            raise ValueError("follow_rate and follow_every are for synthesizers that bootstrap: this one is chained")
        runs = self.seen_steps if run_ahead is None or not self.sees_errors else run_ahead
        self.lookahead = min(self.seen_steps, runs)
        self.trace_decay, self.discount, self.remove_mean, self.remove_radial = (
            trace_decay,
            discount,
            remove_mean,
            remove_radial,
        )
        self.shrinkage = Shrinkage(ema_decay)
        self.gated = shrinkage
        self.follower = None
        if (follow_rate, follow_every) != (1.0, 1):
            self.follower = Follower(synthesizer, follow_rate, follow_every)
        self.shuffle, self.parallel, self.ema_decay, self.all_reduce = shuffle, parallel, ema_decay, all_reduce
        self.register_buffer("mean_square", torch.ones(()))
        self.register_buffer("error_square", torch.zeros(()))
        self.register_buffer("updates", torch.zeros(()))

    def backward(
        self,
        model: nn.Module,
        loss: Loss,
        span: Span,
        state: State,
        *,
        window: int | None = None,
        share: float = 1.0,
        real_window: int | None = None,
    ) -> Step:
        """See `GradientEstimator.backward`.

        Args:
            model, loss, span, state: as there.
            window: T of this span alone, in steps; None for the estimator's.
            share: of this estimator in what crosses a boundary, in [0, 1]. Within a real window the rest is the
                gradient that arrives there from the next window.
            real_window: steps over which real gradients are carried, a multiple of T, as `TruncatedBPTT` would with
                this window; None for the whole span.

        Raises:
            ValueError: besides, `share` is out of range or `real_window` no multiple of T.
        """
        fit_features(self.synthesizer, model)
        window = self.window if window is None else positive("window", window)
        if self.chained and window != self.window:
            raise ValueError(f"window must be that of the synthesizer, {self.window} steps, got {window}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share}")
        if real_window is not None and (real_window < 1 or real_window % window):
            raise ValueError(f"real_window must be a multiple of the window, {window} steps, got {real_window}")
        # What arrives from the next window is known when that has been gone through: windows in order, one by one.
        blended = share * self.trace_decay > 0 or (share < 1 and (real_window is None or real_window > window))
        unrolled = unroll(model, span, state, window, False if blended else self.parallel)
        # Backwards in two parts, from the loss to the outputs and from the outputs on, because what is injected may
        # depend on the errors at the outputs.
        outputs = cut(unrolled.outputs)
        objective = mean_loss(loss, outputs, span)
        objective.backward()
        at, self.error_square = self._boundaries(model, loss, span, unrolled, outputs)
        carried = self._carried(unrolled.edges, share, real_window) if blended else ()
        with without_autocast(span.inputs.device):
            metrics = self._cross(at, unrolled, outputs, share, carried)
        if self.follower is not None:
            self.follower.follow()
        return Step(objective.detach(), unrolled.last, {**metrics, **norms(unrolled.last)})

    def _cross(
        self, at: Boundaries, unrolled: Unrolled, outputs: Any, share: float, carried: Sequence[float]
    ) -> dict[str, Tensor]:
        """Predict, inject, go backwards through the windows, and learn from what arrives at their first states."""
        tokens = at.span.steps * at.span.batch_size
        found = self._predict(at, inject=share > 0)
        injected = None
        if found.injected is not None:  # or the windows' last states take no part, as in truncation
            injected = found.injected / tokens
            if (mask := injectable(unrolled)) is not None:
                injected = injected * mask
            inner, last = injected[: -at.span.batch_size], injected[-at.span.batch_size :]
            if share * (1 - self.trace_decay) != 1:
                injected = torch.cat([share * (1 - self.trace_decay) * inner, share * last])
        backpropagate(unrolled, outputs, injected, carried)
        target = first_gradients(unrolled) * tokens
        predicted = found.trained
        if callable(predicted):
            predicted = predicted(self._arrived(injected, target, carried, at.span))
        predicted = at_least_float32(predicted)
        target, open_rows = finite_rows(target.to(predicted), at.open_rows)
        metrics, count = self._observe(self.mean_square.sqrt() * predicted[:, 0].detach(), target, open_rows)
        metrics["injected_share"] = torch.zeros_like(metrics["target_r2"])
        if injected is not None:
            metrics["injected_share"] = injected_share(injected, outputs, self.all_reduce)
        wanted = target / self.mean_square.sqrt().clamp(min=1e-30)
        regress(predicted, wanted, found.after, open_rows, count, list(self.synthesizer.parameters()))
        return metrics

    def _arrived(self, injected: Tensor | None, target: Tensor, carried: Sequence[float], span: Span) -> Tensor:
        """(K x B, features) what came across each window's end: what was injected, and what was carried over."""
        arrived = torch.zeros_like(target)
        if injected is not None:
            arrived += injected * (span.steps * span.batch_size)
        for place, factor in enumerate(carried, start=1):
            here = slice((place - 1) * span.batch_size, place * span.batch_size)
            arrived[here] += factor * target[place * span.batch_size : (place + 1) * span.batch_size]
        return self._for_synthesizer(finite_rows(arrived, None)[0])

    def look(self, model: nn.Module, loss: Loss, span: Span, state: State) -> BoundaryGradients:
        """What would cross the boundaries of a span backwards; nothing is trained, and no gradient or mean changed.

        Args:
            model, loss, span, state: as in `GradientEstimator.backward`.
        """
        fit_features(self.synthesizer, model)
        with torch.no_grad():
            unrolled = unroll(model, span, state, self.window)
        outputs = cut(unrolled.outputs)
        torch.autograd.backward(mean_loss(loss, outputs, span), inputs=floating_leaves(outputs))
        at, _ = self._boundaries(model, loss, span, unrolled, outputs)
        with torch.no_grad(), without_autocast(span.inputs.device):
            found = self._predict(at, inject=True)
            assert found.injected is not None
            trained = found.trained(found.injected) if callable(found.trained) else found.trained
            predicted = self.mean_square.sqrt() * torch.cat([trained[: span.batch_size, 0], found.after])
        return BoundaryGradients(at.edges, unrolled.boundaries, predicted, found.injected, at.open_rows, unrolled.last)

    def _predict(self, at: Boundaries, *, inject: bool) -> Predictions:
        scale, crossing = self.mean_square.sqrt(), self._injected if inject else None
        if isinstance(self.synthesizer, AdjointSynthesizer):
            return predict_in_turn(self.synthesizer, at, scale, crossing)
        return predict_at_once(self.synthesizer, self.follower, at, scale, crossing)

    def _carried(self, edges: list[int], share: float, real_window: int | None) -> list[float]:
        """The factor on the gradient that arrives at each boundary inside the span."""
        inside = [real_window is None or edge % real_window != 0 for edge in edges[1:-1]]
        return [share * self.trace_decay + (1 - share) * carries for carries in inside]

    def _boundaries(
        self, model: nn.Module, loss: Loss, span: Span, unrolled: Unrolled, outputs: Any
    ) -> tuple[Boundaries, Tensor]:
        """What is known at the boundaries, and the mean square of the errors with this span's taken in."""
        open_rows = open_rows_at(span, unrolled.edges)
        require_size(self.synthesizer, unrolled.last)
        states, open_rows = finite_states(map_state(self._for_synthesizer, unrolled.boundaries), open_rows)
        lookahead, square = None, self.error_square
        if self.seen_steps:
            lookahead, square, finite = self._look_ahead(model, loss, span, unrolled, outputs)
            if not finite:
                lookahead, open_rows = finite_lookahead(lookahead, open_rows)
        return Boundaries(span, unrolled.edges, states, open_rows, lookahead), square

    def _look_ahead(
        self, model: nn.Module, loss: Loss, span: Span, unrolled: Unrolled, outputs: Any
    ) -> tuple[Lookahead, Tensor, bool]:
        """What is known of the steps ahead, the mean square of the errors with this span's taken in, and whether all
        of it is finite.
        """
        require_future(span, self.lookahead, "the synthesizer looks")
        span = replace(span, future=first_steps(span.future, self.lookahead))
        found, square = None, self.error_square
        spans = [span] if span.future is None else [span, span.future]
        known = [each.inputs for each in spans] + ([] if self.sees_errors else [each.targets for each in spans])
        if self.sees_errors:
            own = errors(outputs) * (span.steps * span.batch_size)
            parts = [own]
            if span.future is not None:
                parts.append(errors(ahead.run_ahead(model, loss, span.future, unrolled.last)))
            if not is_finite(own):
                own = own[own.isfinite().all(dim=2)]
            taken_in = square.lerp(mean(own.square(), self.all_reduce).to(square), self._weight(self.updates + 1))
            square = torch.where(taken_in.isfinite(), taken_in, square)
            found = self._for_synthesizer(torch.cat(parts) / square.sqrt().clamp(min=1e-30))
            known.append(found)
        run_ahead = look_ahead(span, unrolled.edges, self.seen_steps, found, within=self.chained)
        return run_ahead, square, is_finite(*known)

    def _for_synthesizer(self, tensor: Tensor) -> Tensor:
        """The tensor in the precision that the synthesizer works in: that of its parameters, if it has any."""
        if not tensor.is_floating_point():
            return tensor
        own = next((p.dtype for p in self.synthesizer.parameters() if p.is_floating_point()), tensor.dtype)
        return tensor.to(own)

    def _injected(self, gradient: Tensor, states: State, open_rows: Tensor | None) -> Tensor:
        """What crosses the boundaries, (K x B, features), from what was predicted there."""
        if self.shuffle:
            gradient = gradient[torch.randperm(gradient.shape[0], device=gradient.device)]
        if self.remove_mean:
            gradient = remove_mean(gradient, open_rows, self.all_reduce)
        if self.remove_radial:
            gradient = remove_radial(gradient, states)
        factor = self.discount * self.shrinkage() if self.gated else self.discount
        gradient = gradient * factor
        return gradient if open_rows is None else gradient * open_rows.unsqueeze(1)

    @torch.no_grad()
    def _observe(
        self, predicted: Tensor, target: Tensor, open_rows: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor | float]:
        """Update gate and scale by predictions made before training on them, and report how good they were.

        Returns:
            Figures, and how many rows count; where processes share a batch, in the mean over these.
        """
        rows: Tensor | None = None
        if open_rows is not None:
            inside = open_rows[: target.shape[0]].unsqueeze(1)
            predicted, target = predicted * inside, target * inside
            rows = inside.sum()
        flat_predicted, flat_target = predicted.flatten(), target.flatten()
        dot, square, power = (
            flat_predicted.dot(flat_target), flat_predicted.dot(flat_predicted), flat_target.dot(flat_target)
        )  # fmt: skip
        processes: Tensor | int = 1
        if self.all_reduce is not None:
            held = torch.full_like(dot, len(target)) if rows is None else rows.to(dot)
            sums = self.all_reduce(torch.stack([dot, square, power, held, torch.ones_like(dot)]))
            dot, square, power, rows, processes = sums.unbind()
        seen: Tensor | bool = True
        count: Tensor | int = len(target)
        if rows is not None:  # a span that begins all its sequences anew may say nothing of the scale
            seen, count = rows > 0, rows.clamp(min=1)
        seen = seen & power.isfinite()
        self.shrinkage.update(dot, square)
        self.updates += seen
        self.take_in("mean_square", power / (count * target.shape[1]), self._weight(self.updates) * seen)
        shrinkage = self.shrinkage() if self.gated else torch.ones_like(dot)
        metrics = {**quality(dot, square, power), "shrinkage": shrinkage, "target_rms": self.mean_square.sqrt()}
        return metrics, count / processes

    def _weight(self, updates: Tensor) -> Tensor:
        """Of the newest in a running mean: a plain mean at first, later one that forgets."""
        return (1 / updates.clamp(min=1)).clamp(min=1 - self.ema_decay)

    def extra_repr(self) -> str:
        return (
            f"window={self.window}, discount={self.discount}, center={self.remove_mean}, tangent={self.remove_radial}"
        )
