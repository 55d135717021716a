import numpy as np
import pytest

from tfllm.errors import InvalidInput
from tfllm.server.signatures import Signature
from tfllm.wire import messages, tensors


@pytest.fixture
def signature():
    """Return a signature with inputs `a` and `b` (default 5), whose graph names sort the other way round."""
    definition = messages.SignatureDef()
    for alias, name in (("a", "z:0"), ("b", "y:0")):
        definition.inputs[alias].name = name
        definition.inputs[alias].dtype = messages.DATA_TYPES["DT_FLOAT"]
    definition.outputs["sum"].name = "out:0"
    definition.outputs["other"].name = "out:1"
    tensors.fill(definition.defaults["b"], np.float32(5))
    return Signature("s", definition)


def proto(value):
    message = messages.TensorProto()
    tensors.fill(message, value)
    return message


def test_inputs_and_defaults(signature):
    assert signature.read_inputs({"a": proto(1.0), "b": proto(2.0)}) == {"a": 1, "b": 2}
    assert signature.read_inputs({"a": proto(1.0)}) == {"a": 1, "b": 5}


def test_missing_and_unknown_inputs(signature):
    with pytest.raises(InvalidInput, match=r"0!=2 len\({}\) != len\({a,b}\).*Missing but required: {a}"):
        signature.read_inputs({})
    with pytest.raises(InvalidInput, match="Signature input alias: a.*request {b,c}, or default input alias set: b"):
        signature.read_inputs({"b": proto(1.0), "c": proto(1.0)})
    with pytest.raises(InvalidInput, match="invalid name. Used request inputs: a, request input: a,c"):
        signature.read_inputs({"a": proto(1.0), "c": proto(1.0)})


def test_values_of_another_protocol(signature):
    arrays = signature.read_inputs({"a": "1", "b": "2"}, read=np.float32)
    assert arrays == {"a": 1, "b": 2}


def test_outputs(signature):
    assert signature.choose_outputs([]) == ("other", "sum")
    assert signature.choose_outputs(["sum"]) == ("sum",)
    with pytest.raises(InvalidInput, match="duplicate output tensor alias: sum"):
        signature.choose_outputs(["sum", "other", "sum"])
    with pytest.raises(InvalidInput, match="not found in signature: x Outputs expected to be in the set {other,sum}"):
        signature.choose_outputs(["sum", "x"])


def test_dtypes_are_counted_by_the_names_in_the_graph(signature):
    good, bad = np.float32(1), np.array("x", object)
    signature.check_dtypes({"a": good, "b": good})
    with pytest.raises(InvalidInput, match=r"arg\[1\] to be float but string"):
        signature.check_dtypes({"a": bad, "b": good})
    with pytest.raises(InvalidInput, match=r"arg\[0\] to be float but half"):
        signature.check_dtypes({"a": bad, "b": np.float16(1)})
