"""The pictures of a report, as SVG text."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_MANY_LABELS = 30
_LONGEST_LABEL = 24
_MOST_DOTS = 2000


def confusion_picture(matrix: np.ndarray, labels: Sequence[str]) -> str:
    """Draw a confusion matrix, rows scaled to their sum.

    Args:
        matrix: int `(labels, labels)`; rows are the right labels, columns the predicted ones.
        labels: the labels.

    Returns:
        One `<svg>` element.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(2.2 + 0.55 * len(labels), 14)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="right")
    if len(labels) <= _MANY_LABELS:
        names = [_short(label) for label in labels]
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            color = "white" if share[row, column] > 0.55 else "black"
            axes.text(column, row, matrix[row, column], ha="center", va="center", color=color, fontsize=9)
    figure.colorbar(image, shrink=0.7, label="share of the row")
    return _svg(figure)


def calibration_picture(bins: Sequence[tuple[float, float, int]]) -> str:
    """Draw accuracy over confidence; on the diagonal a score is the probability that it is right.

    Args:
        bins: mean confidence, accuracy and rows of each bin.

    Returns:
        One `<svg>` element.
    """
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
    confidence, accuracy, rows = zip(*bins, strict=True)
    axes.plot(confidence, accuracy, color="tab:blue", label="model")
    axes.scatter(confidence, accuracy, s=[12 + 160 * count / sum(rows) for count in rows], color="tab:blue")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    return _svg(figure)


def coverage_picture(confidence: np.ndarray, right: np.ndarray) -> str:
    """Draw the accuracy of the rows whose confidence is at least a threshold, over the share of those rows.

    Args:
        confidence: float `(rows,)`.
        right: bool `(rows,)`.

    Returns:
        One `<svg>` element.
    """
    order = np.argsort(-confidence, kind="stable")
    covered = np.arange(1, len(order) + 1)
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(covered / len(order), np.cumsum(right[order]) / covered, color="tab:green")
    axes.set(xlabel="share of rows answered, most confident first", ylabel="accuracy of those", xlim=(0, 1.02))
    axes.set_ylim(top=1.002)
    axes.grid(alpha=0.3)
    return _svg(figure)


def regression_picture(expected: np.ndarray, predicted: np.ndarray) -> str:
    """Draw the answers over the right values; on the diagonal an answer is exact.

    Args:
        expected: float `(rows,)`.
        predicted: float `(rows,)`.

    Returns:
        One `<svg>` element.
    """
    rows = np.linspace(0, len(expected) - 1, min(len(expected), _MOST_DOTS)).astype(int)  # a page stays small
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = [min(expected.min(), predicted.min()), max(expected.max(), predicted.max())]
    axes.plot(ends, ends, color="0.7", linestyle="--")
    axes.scatter(expected[rows], predicted[rows], s=12, alpha=0.5, color="tab:blue")
    axes.set(xlabel="right", ylabel="predicted")
    axes.grid(alpha=0.3)
    return _svg(figure)


def _short(label: str) -> str:
    """Return a label that fits beside an axis; control characters may not stand in SVG."""
    text = "".join(character if character.isprintable() else " " for character in label)
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _svg(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    # Text as text: the reader's browser has the letters of all languages, the font of matplotlib has not.
    with rc_context({"svg.hashsalt": "tfllm", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(stream, format="svg", metadata={"Date": None})  # the same bytes for the same picture
    text = stream.getvalue()
    return text[text.index("<svg") :]
