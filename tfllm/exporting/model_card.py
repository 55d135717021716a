"""The model card: a README.md beside the SavedModel, made from its contract alone."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD_FILE = "README.md"


def write_card(folder: Path, name: str, contract: Mapping[str, Any]) -> None:
    """Write the model card of a version.

    Args:
        folder: the version.
        name: the model's name.
        contract: what the contract file holds.
    """
    (folder / CARD_FILE).write_text(make_card(name, contract), "utf-8")


def make_card(name: str, contract: Mapping[str, Any]) -> str:
    """Return the model card as Markdown.

    Example:
        >>> contract = {"task": "TextClassifier", "signatures": {"serving_default": {"inputs": {"text": {}},
        ...     "outputs": {}}}, "max_length": 128, "versions": {}, "parity": {}, "forward": {}}
        >>> print(make_card("reviews", contract).splitlines()[0])
        # reviews
    """
    inputs = contract.get("input_names") or list(contract["signatures"]["serving_default"]["inputs"])
    golden = (contract.get("golden") or [{"request": ["A text."] * len(inputs)}])[0]
    row = dict(zip(inputs, golden["request"], strict=True))
    parts = [
        f"# {name}\n\nA {contract['task']}, exported {contract.get('created', '')}. It takes raw text.\n",
        _table("What it is", _facts(contract)),
        _evaluation(contract),
        _signatures(contract["signatures"]),
        _queries(name, row),
        _limits(contract),
    ]
    return "\n".join(parts)


def _facts(contract: Mapping[str, Any]) -> dict[str, Any]:
    labels = contract.get("labels")
    forward = contract["forward"]
    return {
        **({"labels": ", ".join(map(str, labels))} if labels else {}),
        "tokens of a window" if "overlap" in contract else "longest text": f"{contract['max_length']} tokens",
        "pairs of texts": "yes" if contract.get("pairs") else "no",
        "forward pass": f"{forward.get('kind')}, {forward.get('precision')}",
        "training data (SHA-256)": contract.get("data_sha256") or "not recorded",
        "vocabulary (SHA-256)": contract.get("vocabulary_sha256"),
        "largest difference from Keras": contract["parity"].get("largest_difference"),
        "made with": ", ".join(f"{name} {version}" for name, version in contract["versions"].items()),
    }


def _evaluation(contract: Mapping[str, Any]) -> str:
    in_keras, exported = (
        {name: round(value, 4) if isinstance(value, float) else value for name, value in (figures or {}).items()}
        for figures in (contract.get("evaluation"), contract.get("evaluation_exported"))
    )
    if not exported:
        return _table("Evaluation", in_keras or {"none": "no figures were given at export"})
    precision = contract["forward"].get("precision")
    names = [*exported, *(name for name in in_keras if name not in exported)]
    rows = [f"| {_cell(name)} | {in_keras.get(name, '')} | {exported.get(name, '')} |" for name in names]
    head = ["## Evaluation\n", f"| | in Keras | as exported, {precision} |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join([f"## {title}\n", "| | |", "|---|---|", *lines, ""])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _signatures(signatures: Mapping[str, Any]) -> str:
    lines = ["## Signatures\n"]
    for name, sides in signatures.items():
        for side in ("inputs", "outputs"):
            specs = [f"`{alias}` {spec.get('dtype')} {spec.get('shape')}" for alias, spec in sides[side].items()]
            lines.append(f"- `{name}` {side}: {', '.join(specs)}")
    return "\n".join([*lines, ""])


def _queries(name: str, row: Mapping[str, str]) -> str:
    body = json.dumps({"instances": [row]}, ensure_ascii=True).replace("'", "\\u0027")
    texts = tuple(row.values())
    asked = repr(texts[0] if len(texts) == 1 else [texts])
    request = json.dumps(
        {"model_spec": {"name": name}, "inputs": {alias: _tensor(text) for alias, text in row.items()}}
    )
    return f"""## How to ask it

```
curl -d '{body}' http://localhost:8501/v1/models/{name}:predict
```

```python
import tfllm
with tfllm.Client("localhost:8500", model={name!r}) as client:
    print(client.predict({asked}))
```

With grpcurl a text is sent as base64. `tfllm serve` answers reflection; for TensorFlow Serving name its proto files.

```
grpcurl -plaintext -d '{request}' localhost:8500 \\
  tensorflow.serving.PredictionService/Predict
```
"""


def _tensor(text: str) -> dict[str, Any]:
    encoded = base64.b64encode(text.encode("utf-8")).decode("ascii")
    return {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": 1}]}, "string_val": [encoded]}


def _limits(contract: Mapping[str, Any]) -> str:
    note = contract["forward"].get("note")
    length = contract["max_length"]
    if "overlap" in contract:
        cut = f"A long text is read in windows of {length} tokens, so nothing of it is lost."
    else:
        cut = f"A text loses what is over {length} tokens; of a pair, the longer text loses its end first."
    lines = [
        "## Limits\n",
        f"- {cut}",
        "- It knows the words, labels and habits of its training data, and no others.",
        *([f"- {note}"] if note else []),
    ]
    return "\n".join([*lines, ""])
