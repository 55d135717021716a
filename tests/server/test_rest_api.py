"""The answers of TensorFlow Serving over REST: status and JSON, word for word."""

import http.client
import math

import pytest

TOY, CLASSIC = "/v1/models/toy", "/v1/models/classic"


@pytest.mark.parametrize(
    "path, body, answer",
    [
        (":predict", {"instances": [2, 4]}, {"predictions": [101.0, 102.0]}),
        (":predict", {"instances": [{"x": 2}]}, {"predictions": [101.0]}),
        (":predict", {"inputs": [2, 4]}, {"outputs": [101.0, 102.0]}),
        (":predict", {"inputs": {"x": [2]}}, {"outputs": [101.0]}),
        ("/versions/1:predict", {"instances": [2]}, {"predictions": [2.0]}),
        (
            ":predict",
            {"signature_name": "pair", "instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
            {"predictions": [{"minus": -1.0, "plus": 3.0}, {"minus": -1.0, "plus": 7.0}]},
        ),
        (
            ":predict",
            {"signature_name": "pair", "inputs": {"a": [1, 3], "b": [2, 4]}},
            {"outputs": {"minus": [-1.0, -1.0], "plus": [3.0, 7.0]}},
        ),
        (
            ":predict",
            {"signature_name": "blob", "instances": ["ä€😀", {"b64": "YWJj"}]},
            {
                "predictions": [
                    {"copy": "ä€😀", "copy_bytes": {"b64": "w6Tigqzwn5iA"}},
                    {"copy": "abc", "copy_bytes": {"b64": "YWJj"}},
                ]
            },
        ),
        (
            ":predict",
            {"signature_name": "blob", "inputs": {"text": [{"b64": "YWI"}]}},
            {"outputs": {"copy": ["ab"], "copy_bytes": [{"b64": "YWI="}]}},
        ),
        (":predict", {"signature_name": "rows", "instances": [[1, 2, 3]]}, {"predictions": [[2.0, 4.0, 6.0]]}),
        (":predict", {"signature_name": "rows", "inputs": [[1, 2]]}, {"outputs": [[2.0, 4.0]]}),
        (":predict", {"signature_name": "scalar", "inputs": [1, 2]}, {"outputs": {"name": "all\0", "sum": 3.0}}),
    ],
)
def test_predict(rest, path, body, answer):
    assert rest("POST", TOY + path, body) == (200, answer)


def test_nan_and_infinity_both_ways(rest):
    status, answer = rest("POST", TOY + ":predict", b'{"instances": [NaN, Infinity, -Infinity, -Inf]}')
    assert status == 200
    assert math.isnan(answer["predictions"][0])
    assert answer["predictions"][1:] == [math.inf, -math.inf, -math.inf]


def test_bytes_that_are_no_text_come_back_as_they_are(rest):
    body = b'{"signature_name": "text", "inputs": ["\xff\xfe"]}'
    assert rest("POST", TOY + ":predict", body)[1]["outputs"]["same"] == ["\udcff\udcfe"]


def test_the_text_of_the_answers(server):
    """Line breaks are TensorFlow Serving's too."""

    def text(body):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=30)
        connection.request("POST", TOY + ":predict", body)
        return connection.getresponse().read().decode()

    assert text('{"instances": [2, 5]}') == '{\n    "predictions": [101.0, 102.5\n    ]\n}'
    assert text('{"inputs": [2]}') == '{\n    "outputs": [\n        101.0\n    ]\n}'
    assert text('{"inputs": 1, "signature_name": "blob"}').startswith('{\n    "error": "JSON Value: 1 Type: Number')
    pair = '{"signature_name": "pair", "instances": [{"a": 1, "b": 2}]}'
    assert text(pair) == (
        '{\n    "predictions": [\n        {\n            "minus": -1.0,\n            "plus": 3.0\n        }\n    ]\n}'
    )


ELEMENT = "Failed to process element: 0 of 'instances' list. "


@pytest.mark.parametrize(
    "body, message",
    [
        ({"signature_name": "nope", "instances": [1]}, 'Serving signature name: "nope" not found in signature def'),
        (
            {"signature_name": "pair", "instances": [{"a": 1}]},
            ELEMENT + 'JSON object: {\n    "a": 1\n} keys must be equal to: a,b',
        ),
        (
            {"signature_name": "pair", "instances": [{"a": 1, "b": 2, "c": 3}]},
            "Failed to process element: 0 key: c of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON object: does not have named input: c",
        ),
        (
            {"signature_name": "pair", "instances": [1]},
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            {"signature_name": "pair", "inputs": [1]},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        ({"signature_name": "pair", "inputs": {"a": [1]}}, "Missing named input: b in 'inputs' object."),
        (
            {"signature_name": "text", "instances": [{"b64": "***"}]},
            ELEMENT + "Error: INVALID_ARGUMENT: Unable to base64 decode",
        ),
        (
            {"signature_name": "text", "instances": [5]},
            ELEMENT + "Error: INVALID_ARGUMENT: JSON Value: 5 Type: Number is not of expected type: string",
        ),
        (
            {"instances": [None]},
            ELEMENT + "Error: INVALID_ARGUMENT: JSON Value: null Type: Null is not of expected type: float",
        ),
        (
            {"instances": [True]},
            ELEMENT + "Error: INVALID_ARGUMENT: JSON Value: true Type: True is not of expected type: float",
        ),
        (
            {"instances": [16777217]},
            ELEMENT
            + "Error: INVALID_ARGUMENT: Cannot convert JSON value: 16777217 to float without loss of precision.",
        ),
        (
            {"instances": [1.0, "a"]},
            "Failed to process element: 1 of 'instances' list. "
            'Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float',
        ),
        ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"x": 1}, 1]}, "Expecting object but got list at item 1 of input list"),
        (
            {"signature_name": "rows", "instances": [[1, 2], [1]]},
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
        ),
        (
            {"signature_name": "rows", "instances": [[1, 2], [[1, 2]]]},
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
        ),
        (
            {"signature_name": "rows", "inputs": [[1, 2], [1]]},
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        (
            {"signature_name": "rows", "inputs": [[1, 2], 3]},
            "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"signature_name": "scalar", "instances": [1]}, "Tensor name: name has no shape information "),
        (
            {"signature_name": "uneven", "instances": [1, 2]},
            "Tensor name: first has inconsistent batch size: 1 expecting: 2",
        ),
        ({"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        ({"instances": 5}, "JSON Value: {\n    \"instances\": 5\n} Expecting 'instances' to be an list/array"),
        (
            {"instances": [1.5], "inputs": {"x": [1]}},
            'JSON Value: {\n    "instances": [1.5],\n    "inputs": {\n        "x": [1]\n    }\n} '
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ({"nothing": 1}, "Missing 'inputs' or 'instances' key"),
        (b"", "JSON Parse error: The document is empty"),
        (b"{oops", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b"[1, 2]", "JSON Value: [1, 2] Is not object"),
        (
            {"signature_name": 5},
            'JSON Value: {\n    "signature_name": 5\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
    ],
)
def test_refusals_of_predict(rest, body, message):
    assert rest("POST", TOY + ":predict", body) == (400, {"error": message})


def test_what_json_has_no_form_for(rest):
    names = {"flag": True, "half": 1.0, "long": 1, "small": 1, "brain": 1.0}
    status, answer = rest("POST", TOY + ":predict", {"signature_name": "kinds", "inputs": names})
    assert status == 501
    assert answer["error"].startswith("Conversion of JSON Value: 1.0 to type: ")


def test_the_graphs_own_refusal(rest):
    status, answer = rest("POST", TOY + ":predict", {"signature_name": "picky", "instances": [-1]})
    assert status == 400
    assert answer["error"].startswith("assertion failed: [must be above zero.")


@pytest.mark.parametrize(
    "path, status, message",
    [
        ("/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        (TOY + "/versions/99:predict", 404, "Servable not found for request: Specific(toy, 99)"),
        (TOY + "/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
        (TOY + ":explode", 400, f"Malformed request: POST {TOY}:explode"),
        (TOY + ":PREDICT", 400, f"Malformed request: POST {TOY}:PREDICT"),
        (TOY, 400, f"Malformed request: POST {TOY}"),
    ],
)
def test_paths_of_calls(rest, path, status, message):
    assert rest("POST", path, {"instances": [1]}) == (status, {"error": message})


def test_classify_and_regress(rest):
    body = {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": [-0.5]}]}
    answer = {"results": [[["no", 6.0], ["yes", -6.0]], [["no", -1.5], ["yes", 1.5]]]}
    assert rest("POST", CLASSIC + ":classify", body) == (200, answer)
    body = {"signature_name": "scores_only", "context": {"x": 2.0}, "examples": [{}]}
    assert rest("POST", CLASSIC + ":classify", body) == (200, {"results": [[["", 6.0], ["", -6.0]]]})
    status, answer = rest("POST", CLASSIC + ":classify", {"signature_name": "classify", "examples": [{"x": True}]})
    assert status == 400 and "Data types don't match" in answer["error"]  # a boolean is a whole number
    body = {"signature_name": "regress", "examples": [{"x": 2.0}]}
    assert rest("POST", CLASSIC + ":regress", body) == (200, {"results": [6.0]})


@pytest.mark.parametrize(
    "extra, message",
    [
        (
            {},
            'JSON Value: {\n    "signature_name": "classify"\n} '
            "When method is classify, key 'examples' is expected and was not found",
        ),
        ({"examples": [3]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": [1, "a"]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": ["a", 1.5]}]}, "Unexpected element type in feature: x expecting type: bytes"),
        ({"examples": [{"x": 2**63}]}, "Feature: x has uint64 element. Only int64 is supported."),
    ],
)
def test_refusals_of_examples(rest, extra, message):
    body = {"signature_name": "classify", **extra}
    assert rest("POST", CLASSIC + ":classify", body) == (400, {"error": message})


def row(version):
    return {"version": str(version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize(
    "path, rows",
    [
        (TOY, [2, 1]),
        (TOY + "/versions/1", [1]),
        (TOY + "/labels/anything", [2, 1]),
        ("/V1/MODELS/toy", [2, 1]),
        ("/v1/models/t%6Fy", [2, 1]),
        (TOY + "?x=1", [2, 1]),
    ],
)
def test_status(rest, path, rows):
    assert rest("GET", path) == (200, {"model_version_status": [row(version) for version in rows]})


def test_metadata(rest):
    status, answer = rest("GET", TOY + "/versions/1/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "toy", "version": "1", "signature_name": ""}
    signature = answer["metadata"]["signature_def"]["signature_def"]["scalar"]
    vector = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"] == {"x": {"name": "scalar_x:0", "dtype": "DT_FLOAT", "tensor_shape": vector}}
    assert signature["outputs"]["sum"]["tensor_shape"] == {"dim": [], "unknown_rank": False}
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


@pytest.mark.parametrize(
    "method, path, status, message",
    [
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("GET", TOY + "/versions/99", 404, "Could not find version 99 of model toy"),
        ("GET", "/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", TOY + ":predict", 400, f"Malformed request: GET {TOY}:predict"),
        ("PUT", TOY + ":predict", 400, f"Malformed request: PUT {TOY}:predict"),
        ("DELETE", TOY, 400, f"Malformed request: DELETE {TOY}"),
        ("GET", "/v1/elsewhere", 400, "Malformed request: GET /v1/elsewhere"),
    ],
)
def test_refusals_by_path(rest, method, path, status, message):
    assert rest(method, path) == (status, {"error": message})


@pytest.mark.parametrize("path", [TOY + "/versions/99999999999999999999", TOY + "/versions/" + "9" * 5000])
def test_a_version_that_is_no_number_of_64_bits(rest, path):
    assert rest("GET", path) == (400, "")
    assert rest("POST", path + ":predict", {"instances": [1]}) == (400, "")


@pytest.mark.parametrize("path", ["/", "/v2/models/toy", "/v1"])
def test_other_places(rest, path):
    status, text = rest("GET", path)
    assert status == 404
    assert text.startswith("<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>")


def test_what_operators_ask(rest):
    assert rest("GET", "/healthz") == (200, {"alive": True})
    assert rest("GET", "/readyz") == (200, {"ready": True})
    status, answer = rest("GET", "/tfllm/models")
    assert status == 200
    assert answer["models"][1] == {
        "name": "toy",
        "versions": [{"version": 2, "state": "AVAILABLE"}, {"version": 1, "state": "AVAILABLE"}],
        "labels": {},
    }


@pytest.mark.parametrize("key, depth", [("inputs", 65), ("inputs", 950), ("instances", 65), ("instances", 950)])
def test_tensors_of_too_many_dimensions(rest, key, depth):
    status, answer = rest("POST", "/v1/models/toy:predict", f'{{"{key}": {"[" * depth}1.0{"]" * depth}}}'.encode())
    assert status == 400
    found = 949 if (key, depth) == ("instances", 950) else depth  # of a row, which is looked at first
    assert answer["error"].endswith(f"Expecting tensor with at most 64 dimensions but got: {found}")


def test_objects_that_are_nested_too_deeply(rest):
    nested = ('{"a": ' * 950 + "1" + "}" * 950).encode()
    for verb, key in (("predict", b"instances"), ("classify", b"examples")):
        status, answer = rest("POST", f"/v1/models/classic:{verb}", b'{"%s": %s}' % (key, nested))
        assert (status, answer) == (400, {"error": "JSON Parse error: Nested too deeply."})


def test_as_many_dimensions_as_there_may_be(rest):
    status, _ = rest("POST", "/v1/models/toy:predict", f'{{"inputs": {"[" * 64}1.0{"]" * 64}}}'.encode())
    assert status == 200
