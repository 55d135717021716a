import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.embeddings import evaluate_similarity


def one_hot(texts):
    return np.array([[text.count(letter) for letter in "abc"] for text in texts], float)


def test_similarity_is_the_correlation_of_cosines():
    frame = pd.DataFrame({"a": ["a", "ab", "abc", "b"], "b": ["b", "a", "ab", "b"], "label": [1.0, 2.0, 3.0, 5.0]})
    data = TextDataset(frame, text="a", text_pair="b", label_kind="value")
    cosines = [0, 1 / math.sqrt(2), 2 / math.sqrt(6), 1]
    found = evaluate_similarity(one_hot, data)
    assert found["spearman"] == 1.0
    assert found["pearson"] == pytest.approx(stats.pearsonr(cosines, frame["label"]).statistic)


def test_rows_that_are_no_pairs():
    with pytest.raises(DataError, match="text_pair="):
        evaluate_similarity(one_hot, TextDataset(pd.DataFrame({"text": ["a"], "label": [1.0]}), label_kind="value"))
