"""Which forward pass an exported model runs: the packed one, or Keras's where that does not know the encoder."""

from dataclasses import dataclass

from tfllm.errors import ExportError, choices_hint
from tfllm.exporting.encoder_weights import has_known_head, read_encoder
from tfllm.exporting.inference_graph import TOKENS_PER_STEP, InferenceGraph
from tfllm.exporting.late_constants import LateConstants
from tfllm.tasks.base import Task

PRECISIONS = ("float32", "bfloat16", "float16")
"""What the products of an exported model can be computed in."""


@dataclass(frozen=True)
class ForwardPass:
    """The forward pass of an exported model.

    Attributes:
        graph: the packed one, with late constants, or None for the Keras model's.
        precision: of the products.
        tokens_per_step: the most tokens in work at once; None for no limit.
        note: why it is the Keras model's, if it is.
    """

    graph: InferenceGraph | None
    precision: str = "float32"
    tokens_per_step: int | None = None
    note: str | None = None

    def described(self) -> dict[str, object]:
        """Return what the contract says of it."""
        kind = "keras" if self.graph is None else "packed"
        return {
            "kind": kind,
            "precision": self.precision,
            "tokens_per_step": self.tokens_per_step,
            "note": self.note,
        }


def choose_forward(model: Task, precision: str, tokens_per_step: int = TOKENS_PER_STEP) -> ForwardPass:
    """Return the forward pass to export a task with.

    Raises:
        ExportError: there is no such precision, the limit is none, or the Keras model's own forward pass, which is
            all there is for this encoder, has one precision and no limit.

    Example:
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> choose_forward(model, "float32").described()["kind"]
        'packed'
    """
    if precision not in PRECISIONS:
        raise ExportError(
            f"Expected a precision. Received: precision={precision!r}. {choices_hint(precision, PRECISIONS)}"
        )
    if tokens_per_step < 1:
        raise ExportError(f"Expected tokens_per_step of at least 1. Received: {tokens_per_step}.")
    encoder = read_encoder(model.backbone)
    if encoder is not None and has_known_head(model):
        graph = InferenceGraph(
            encoder, model.head, dtype=precision, tokens_per_step=tokens_per_step, constants=LateConstants()
        )
        return ForwardPass(graph, precision, tokens_per_step)
    what = type(model.backbone).__name__ if encoder is None else f"the head of {type(model).__name__}"
    if precision != "float32":
        raise ExportError(
            f"Expected precision='float32' for a model that runs Keras's forward pass, as {what} does. "
            f"Received: precision={precision!r}."
        )
    if tokens_per_step != TOKENS_PER_STEP:
        raise ExportError(
            f"Expected no tokens_per_step for a model that runs Keras's forward pass, as {what} does: it computes a "
            f"request in one step. Received: {tokens_per_step}."
        )
    return ForwardPass(None, note=f"The packed forward pass does not know {what}; this is Keras's own.")
