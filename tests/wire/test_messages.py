"""Our messages against the official ones: same fields, same bytes."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool, unknown_fields
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.wire import messages

OURS = ("tensorflow_error.proto", "tensorflow.proto", "tf_serving.proto")


def with_nested(descriptor):
    return [descriptor, *(found for nested in descriptor.nested_types for found in with_nested(nested))]


MESSAGES = sorted(
    descriptor.full_name
    for file in OURS
    for outer in messages.POOL.FindFileByName(file).message_types_by_name.values()
    for descriptor in with_nested(outer)
)
ENUMS = ("tensorflow.DataType", "tensorflow.error.Code", "tensorflow.serving.ModelVersionStatus.State")


@pytest.fixture(scope="module")
def official():
    """Return the official message classes by name (this imports TensorFlow)."""
    from google.protobuf.message_factory import GetMessageClass
    from tensorflow.core.protobuf import meta_graph_pb2  # noqa: F401
    from tensorflow_serving.apis import (  # noqa: F401
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        predict_pb2,
    )

    pool = descriptor_pool.Default()
    return lambda name: GetMessageClass(pool.FindMessageTypeByName(name))


def field_facts(field):
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else None
    return (
        field.number,
        field.type,
        field.is_repeated,
        field.has_presence,
        field.json_name,
        oneof,
        kind and kind.full_name,
    )


def test_descriptors_are_those_of_the_proto_files(tmp_path):
    """`make protos` would change nothing."""
    out = tmp_path / "descriptors.binpb"
    folder = Path(str(files("tfllm.wire")))
    command = ["-I.", "--include_imports", f"--descriptor_set_out={out}", "tf_serving.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *command], cwd=folder, check=True)

    def own_files(data):
        return [file for file in FileDescriptorSet.FromString(data).file if file.name in OURS]

    assert len(own_files(out.read_bytes())) == len(OURS)
    assert own_files(out.read_bytes()) == own_files((folder / "descriptors.binpb").read_bytes())


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_are_the_official_ones(name, official):
    theirs = official(name).DESCRIPTOR
    ours = messages.POOL.FindMessageTypeByName(name)
    assert ours.fields or ours.nested_types or ours.name == "All"
    for field in ours.fields:
        assert field_facts(field) == field_facts(theirs.fields_by_name[field.name]), field.name


@pytest.mark.parametrize("name", ENUMS)
def test_enum_values_are_the_official_ones(name, official):
    theirs = descriptor_pool.Default().FindEnumTypeByName(name).values_by_name
    ours = messages.POOL.FindEnumTypeByName(name).values
    assert {value.name: value.number for value in ours} == {value.name: theirs[value.name].number for value in ours}


def test_method_paths_are_the_official_ones(official):
    services = {}
    for file in ("prediction_service", "model_service"):
        __import__(f"tensorflow_serving.apis.{file}_pb2")
        descriptor = descriptor_pool.Default().FindFileByName(f"tensorflow_serving/apis/{file}.proto")
        services.update(descriptor.services_by_name)
    paths = [value for value in vars(messages).values() if isinstance(value, str) and value.startswith("/tensorflow.")]
    assert len(paths) == 7
    for path in paths:
        service, method = path.removeprefix("/tensorflow.serving.").split("/")
        assert method in services[service].methods_by_name


texts = st.text(max_size=8)
int64s = st.integers(-(2**63), 2**63 - 1)


@st.composite
def tensors(draw):
    return messages.TensorProto(
        dtype=draw(st.sampled_from(sorted(messages.DATA_TYPES.values()))),
        tensor_shape={"dim": [{"size": size} for size in draw(st.lists(int64s, max_size=3))]},
        tensor_content=draw(st.binary(max_size=8)),
        float_val=draw(st.lists(st.floats(width=32), max_size=3)),
        double_val=draw(st.lists(st.floats(), max_size=3)),
        int_val=draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)),
        string_val=draw(st.lists(st.binary(max_size=8), max_size=3)),
        int64_val=draw(st.lists(int64s, max_size=3)),
        bool_val=draw(st.lists(st.booleans(), max_size=3)),
        half_val=draw(st.lists(st.integers(0, 2**16 - 1), max_size=3)),
        uint64_val=draw(st.lists(st.integers(0, 2**64 - 1), max_size=3)),
    )


@st.composite
def specs(draw):
    choice = draw(st.sampled_from(["version", "version_label", None]))
    spec = messages.ModelSpec(name=draw(texts), signature_name=draw(texts))
    if choice == "version":
        spec.version.value = draw(int64s)
    elif choice:
        spec.version_label = draw(texts)
    return spec


@given(spec=specs(), inputs=st.dictionaries(texts, tensors(), max_size=2), names=st.lists(texts, max_size=2))
@settings(max_examples=60, deadline=None)
def test_requests_have_equal_bytes_both_ways(official, spec, inputs, names):
    ours = messages.PredictRequest(model_spec=spec, inputs=inputs, output_filter=names)
    theirs_class = official("tensorflow.serving.PredictRequest")
    data = ours.SerializeToString(deterministic=True)
    theirs = theirs_class.FromString(data)
    assert theirs.SerializeToString(deterministic=True) == data
    assert messages.PredictRequest.FromString(data) == ours
    assert theirs.model_spec.name == spec.name
    assert theirs.model_spec.WhichOneof("version_choice") == spec.WhichOneof("version_choice")
    assert sorted(theirs.inputs) == sorted(inputs)


@given(spec=specs(), states=st.lists(st.tuples(int64s, st.sampled_from(sorted(messages.STATES.values())), texts)))
@settings(max_examples=40, deadline=None)
def test_status_answers_have_equal_bytes_both_ways(official, spec, states):
    ours = messages.GetModelStatusResponse()
    for version, state, message in states:
        ours.model_version_status.add(version=version, state=state, status={"error_code": 3, "error_message": message})
    data = ours.SerializeToString()
    theirs = official("tensorflow.serving.GetModelStatusResponse").FromString(data)
    assert [(row.version, row.state, row.status.error_message) for row in theirs.model_version_status] == states
    assert theirs.SerializeToString() == data


features = st.one_of(
    st.builds(lambda values: {"bytes_list": {"value": values}}, st.lists(st.binary(max_size=5), max_size=3)),
    st.builds(lambda values: {"float_list": {"value": values}}, st.lists(st.floats(width=32), max_size=3)),
    st.builds(lambda values: {"int64_list": {"value": values}}, st.lists(int64s, max_size=3)),
    st.just({}),
)
rows = st.builds(lambda found: {"features": {"feature": found}}, st.dictionaries(texts, features, max_size=3))
inputs_ = st.one_of(
    st.builds(lambda found: {"example_list": {"examples": found}}, st.lists(rows, max_size=3)),
    st.builds(
        lambda found, context: {"example_list_with_context": {"examples": found, "context": context}},
        st.lists(rows, max_size=3),
        rows,
    ),
)
classes = st.builds(
    lambda found: {"classifications": [{"classes": [{"label": a, "score": b} for a, b in row]} for row in found]},
    st.lists(st.lists(st.tuples(texts, st.floats(width=32)), max_size=3), max_size=3),
)
values = st.builds(
    lambda found: {"regressions": [{"value": value} for value in found]}, st.lists(st.floats(width=32), max_size=4)
)
models = st.builds(
    lambda name, path, labels, policy: {
        "name": name, "base_path": path, "version_labels": labels, "model_version_policy": policy
    },
    texts,
    texts,
    st.dictionaries(texts, int64s, max_size=2),
    st.sampled_from([{}, {"all": {}}, {"latest": {"num_versions": 3}}, {"specific": {"versions": [1, 2**40]}}]),
)  # fmt: skip
BODIES = {
    "ClassificationRequest": st.fixed_dictionaries({"model_spec": specs(), "input": inputs_}),
    "RegressionRequest": st.fixed_dictionaries({"model_spec": specs(), "input": inputs_}),
    "ClassificationResponse": st.fixed_dictionaries({"model_spec": specs(), "result": classes}),
    "RegressionResponse": st.fixed_dictionaries({"model_spec": specs(), "result": values}),
    "MultiInferenceRequest": st.fixed_dictionaries(
        {
            "tasks": st.lists(st.fixed_dictionaries({"model_spec": specs(), "method_name": texts}), max_size=2),
            "input": inputs_,
        }
    ),
    "MultiInferenceResponse": st.fixed_dictionaries(
        {
            "results": st.lists(
                st.one_of(
                    st.fixed_dictionaries({"model_spec": specs(), "classification_result": classes}),
                    st.fixed_dictionaries({"model_spec": specs(), "regression_result": values}),
                ),
                max_size=2,
            )
        }
    ),
    "ReloadConfigRequest": st.fixed_dictionaries(
        {"config": st.builds(lambda m: {"model_config_list": {"config": m}}, st.lists(models, max_size=2))}
    ),
    "ReloadConfigResponse": st.fixed_dictionaries(
        {"status": st.builds(lambda c, t: {"error_code": c, "error_message": t}, st.integers(0, 16), texts)}
    ),
}


@pytest.mark.parametrize("name", BODIES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_inference_and_reload_have_equal_bytes_both_ways(official, name, data):
    ours_class, theirs_class = getattr(messages, name), official(f"tensorflow.serving.{name}")
    sent = ours_class(**data.draw(BODIES[name])).SerializeToString(deterministic=True)
    theirs = theirs_class.FromString(sent)
    assert not len(unknown_fields.UnknownFieldSet(theirs))
    assert theirs.SerializeToString(deterministic=True) == sent
    assert ours_class.FromString(theirs.SerializeToString()).SerializeToString(deterministic=True) == sent


def test_metadata_of_the_official_class_is_read(official):
    theirs_map = official("tensorflow.serving.SignatureDefMap")()
    signature = theirs_map.signature_def["serving_default"]
    signature.inputs["text"].name = "text:0"
    signature.inputs["text"].dtype = messages.DATA_TYPES["DT_STRING"]
    theirs = official("tensorflow.serving.GetModelMetadataResponse")()
    theirs.metadata["signature_def"].Pack(theirs_map)
    ours = messages.GetModelMetadataResponse.FromString(theirs.SerializeToString())
    read = messages.SignatureDefMap.FromString(ours.metadata["signature_def"].value)
    assert read.signature_def["serving_default"].inputs["text"].name == "text:0"
    assert read.SerializeToString(deterministic=True) == theirs_map.SerializeToString(deterministic=True)


def test_wire_loads_no_tensorflow():
    code = (
        "import sys, tfllm.wire.messages, tfllm.wire.tensors; "
        "print(sorted({'tensorflow', 'tensorflow_serving', 'ml_dtypes', 'pandas', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
