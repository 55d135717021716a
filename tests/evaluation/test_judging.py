import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.data.targets import LABEL_KINDS
from tfllm.errors import DataError
from tfllm.evaluation.judging import _JUDGES, evaluate

FRAME = pd.DataFrame({"text": ["x"], "label": ["a"]})


def test_what_is_no_function_or_no_data():
    with pytest.raises(DataError, match="Received: int and TextDataset"):
        evaluate(3, TextDataset(FRAME))
    with pytest.raises(DataError, match="Received: function and DataFrame"):
        evaluate(lambda texts: texts, FRAME)


def test_every_judge_is_for_a_kind_of_label():
    assert set(_JUDGES) <= set(LABEL_KINDS)
