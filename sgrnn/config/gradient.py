"""The section `gradient`: the gradient estimator."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sgrnn.config.feedback import FeedbackConfig, SyntheticFeedbackConfig
from sgrnn.config.section import PositiveShare, Section, Share
from sgrnn.config.source import ConstantSourceConfig, SourceConfig
from sgrnn.config.synthesizers import ErrorSynthesizerConfig, SynthesizerConfig


class BPTTConfig(Section):
    """Back-propagation through the whole span."""

    kind: Literal["bptt"] = "bptt"


class CheckpointedConfig(Section):
    """Back-propagation through the whole span with the graph of one window at a time, for one more forward pass."""

    kind: Literal["checkpointed"] = "checkpointed"
    window: PositiveInt
    """Steps whose graph is kept at a time; the gradient goes back through the whole span."""


class TruncatedBPTTConfig(Section):
    """No gradient crosses a boundary."""

    kind: Literal["truncated"] = "truncated"
    window: PositiveInt
    """Steps back-propagated together, within a span (`training.span`)."""
    every: PositiveInt | None = None
    """Steps between two updates, `training.span`, for windows that overlap: TBPTT(every, window); null for windows that
    divide a span."""
    parallel: bool | None = None
    """Run the windows of a span as one batch; null for where that is faster, never with interfaces."""
    low_memory: bool = False
    """Free the graph of each window as soon as it has gone backwards, so that memory does not grow with the span; the
    loss is computed window by window, which takes longer where the output layer is large."""


class ExactAheadConfig(Section):
    """The exact gradient of the next steps crosses every boundary: a rival of synthetic ones that sees as far."""

    kind: Literal["exact"] = "exact"
    window: PositiveInt
    """Steps back-propagated together, within a span (`training.span`)."""
    lookahead: PositiveInt = 8
    """Steps beyond each window."""
    parallel: bool | None = None
    """Run the windows of a span as one batch; null for where that is faster, never with interfaces."""


class SyntheticGradientsConfig(Section):
    """Synthetic gradients cross the boundaries, always or at the times that `source` gives."""

    kind: Literal["synthetic"] = "synthetic"
    window: PositiveInt
    """Steps back-propagated together, within a span (`training.span`)."""
    synthesizer: Annotated[SynthesizerConfig, Field(discriminator="kind")] = ErrorSynthesizerConfig()
    """Predictor of the gradients."""
    run_ahead: NonNegativeInt | None = None
    """Steps that the model is run beyond a span, for a synthesizer that sees output gradients to know those there; null
    for its lookahead, or for none where their targets do."""
    ahead: Literal["model", "targets"] | None = None
    """Source of the output gradients beyond a span: the model, run there; or the targets alone of the steps that it is
    not run over; null for the targets of a text, if `run_ahead` is null, the core is no GRU or RNN, and the synthesizer
    none of one window."""
    delay: PositiveInt | None = None
    """Steps after which the gradient comes, of output gradients that have been seen by then, in the place of running
    ahead: for spans of one window, which `training.span` is where it is null; null for running ahead."""
    trace_decay: Share = 0.0
    """lambda of TD(lambda): how much of the real gradient crosses the boundaries inside a span."""
    discount: Share = 1.0
    """Factor on the injected gradient."""
    remove_mean: bool = False
    """Remove the mean over rows and boundaries from the injected gradient."""
    remove_radial: bool | None = None
    """Remove the part along the state from the injected gradient; null for everywhere but in a state of one tensor as
    wide as the outputs, as a GRU's, with an error or a diagonal synthesizer."""
    shrinkage: bool = True
    """Multiply predictions by the factor in [0, 1] that brings them closest to their targets."""
    shuffle: bool = False
    """A control: every row gets the prediction for another, and the synthesizer learns from what that does."""
    parallel: bool | None = None
    """Run the windows of a span as one batch; null for where that is faster, never with interfaces."""
    low_memory: bool = False
    """Free the graph of each window as soon as it has gone backwards, so that memory does not grow with the span; the
    loss is computed window by window, which takes longer where the output layer is large."""
    source: Annotated[SourceConfig, Field(discriminator="kind")] = ConstantSourceConfig()
    """Where the gradient at a boundary comes from, over time: the synthesizer, or back-propagation (real)."""
    real_window: PositiveInt | None = None
    """Steps that real gradients go back while it is their turn; null for the whole span."""
    ground_every: PositiveInt | None = None
    """In one of so many spans with synthetic gradients these are those of a longer window, `ground_window`."""
    ground_window: PositiveInt | None = None
    """Steps back-propagated together in those spans, at least `window`; goes together with `ground_every`."""
    learn_every: PositiveInt = 1
    """Let the synthesizer learn in all of the first 1,000 updates, and later in one of so many, drawn by their number,
    which takes less time."""
    true_share: PositiveShare | None = None
    """Share of rows, drawn for every span, by whose true gradient through the span all is corrected, so that it is
    unbiased (control variates); null for none. Only where all gradients are synthetic, and none grounded."""


class RTRLConfig(Section):
    """Real-time recurrent learning: the exact gradient, carried forwards; for small cores."""

    kind: Literal["rtrl"] = "rtrl"


class UOROConfig(Section):
    """Real-time recurrent learning with the influence as an outer product of random signs, of `training.seed`."""

    kind: Literal["uoro"] = "uoro"


class SnAp1Config(Section):
    """Real-time recurrent learning with the influence within one step's reach only; for small cores."""

    kind: Literal["snap1"] = "snap1"


class BPLambdaConfig(Section):
    """Synthetic gradients without a window, by a linear synthesizer that learns at every step; for small cores."""

    kind: Literal["bp_lambda"] = "bp_lambda"
    learning_rate: PositiveFloat
    """Learning rate of the synthesizer, which `synthesizer_optimizer` does not train."""
    discount: Share = 1.0
    """Discount of the gradient of later steps."""
    trace_decay: Share = 1.0
    """lambda of TD(lambda): 0 bootstraps from the next step alone, 1 from none but the last."""
    injection_scale: NonNegativeFloat = 1.0
    """Factor on the injected gradient."""


class DecoupledConfig(Section):
    """Layers of a feed-forward network that are trained apart, each by the feedback at the interface above it."""

    kind: Literal["decoupled"] = "decoupled"
    feedback: Annotated[FeedbackConfig, Field(discriminator="kind")] = SyntheticFeedbackConfig()
    """Gradient that a layer is given in the place of the next layer's."""
    synthetic_inputs: bool = False
    """Let every layer but the first read a prediction of its inputs from the image: none waits for those below."""
    update_probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability of each layer to be updated at a step; one that is not goes forwards alone."""


OnlineConfig = RTRLConfig | UOROConfig | SnAp1Config | BPLambdaConfig
GradientConfig = (
    BPTTConfig
    | CheckpointedConfig
    | TruncatedBPTTConfig
    | ExactAheadConfig
    | SyntheticGradientsConfig
    | OnlineConfig
    | DecoupledConfig
)
