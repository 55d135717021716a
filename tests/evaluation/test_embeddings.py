import json
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


@pytest.mark.parametrize(
    ("texts", "values"), [(["a"], [1.0]), (["a", "ab", "b"], [2.0, 2.0, 2.0]), (["a", "a", "a"], [1.0, 2.0, 3.0])]
)
def test_no_correlation_without_variance(texts, values):
    frame = pd.DataFrame({"a": texts, "b": ["a"] * len(texts), "label": values})
    found = evaluate_similarity(one_hot, TextDataset(frame, text="a", text_pair="b", label_kind="value"))
    assert json.loads(json.dumps(found, allow_nan=False)) == {"spearman": 0.0, "pearson": 0.0}


def test_another_number_of_vectors_than_texts():
    frame = pd.DataFrame({"a": ["a", "ab"], "b": ["b", "a"], "label": [1.0, 2.0]})
    data = TextDataset(frame, text="a", text_pair="b", label_kind="value")
    with pytest.raises(DataError, match="1 vectors for 2 texts"):
        evaluate_similarity(lambda texts: one_hot(texts)[:1], data)


def test_rows_that_are_no_pairs():
    with pytest.raises(DataError, match="text_pair="):
        evaluate_similarity(one_hot, TextDataset(pd.DataFrame({"text": ["a"], "label": [1.0]}), label_kind="value"))
