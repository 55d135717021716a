"""Judge embeddings by similarities that people gave: `evaluate_similarity`, for anything that encodes texts."""

from collections.abc import Callable, Sequence

import numpy as np

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.metrics import correlations
from tfllm.search.vectors import vectors_of

Encode = Callable[[Sequence[str]], np.ndarray]


def evaluate_similarity(encode: Encode, data: TextDataset) -> dict[str, float]:
    """Judge embeddings by how well their cosine similarities agree with similarities that people gave (STS).

    Args:
        encode: texts -> float `(texts, dim)`, such as `model.encode_text`.
        data: pairs with a number each, loaded with `text_pair=` and `label_kind="value"`.

    Returns:
        `spearman` and `pearson`, the correlations of cosine similarities with those numbers (Reimers and Gurevych,
        2019, section 4), -1 to 1; 0.0 where all numbers of a side are equal.

    Raises:
        DataError: the rows are not pairs with numbers, or `encode` does not give one vector for each text.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"a": ["x", "x", "x"], "b": ["x", "xy", "y"], "label": [5.0, 3.0, 0.0]})
        >>> data = TextDataset(frame, text="a", text_pair="b", label_kind="value")
        >>> letters = lambda texts: np.array([[text.count("x"), text.count("y")] for text in texts], float)
        >>> evaluate_similarity(letters, data)["spearman"]
        1.0
    """
    if data.text_pair is None:
        raise DataError(f"Expected pairs of texts. Received: {data!r}. Load it with text_pair=.")
    values = np.array(data.targets_of("value"), float)
    left, right = (vectors_of(encode, data.frame[name].tolist()) for name in (data.text, data.text_pair))
    found = correlations(values, np.sum(left * right, axis=1))
    return {name: round(found[name], 12) for name in ("spearman", "pearson")}
