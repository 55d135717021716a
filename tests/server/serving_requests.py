"""Requests in the official messages, and what a refused one says."""

import grpc
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

TYPES = types_pb2


def tensor(dtype, shape, **values):
    proto = TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def floats(*values):
    return tensor(TYPES.DT_FLOAT, [len(values)], float_val=values)


def fill(spec, model="toy", version=None, label=None, signature=None):
    spec.SetInParent()
    if model:
        spec.name = model
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    if signature is not None:
        spec.signature_name = signature


def refusal(ask, *arguments, **options):
    """Return code and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(*arguments, **options)
    return caught.value.code().name, caught.value.details()
