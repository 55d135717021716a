"""The page at `/` of the REST port, and the figures that it shows.

The page is one document: its style and scripts are in it, and nothing else may be loaded or run in it. A browser gets
it, and whoever else asks for `/` gets the answer of TensorFlow Serving, which has no page: see
docs/decisions/0016-a-page-for-browsers.md.
"""

import base64
import functools
import hashlib
import importlib.resources
import json
import time
from pathlib import Path
from typing import Any

from tfllm._version import __version__
from tfllm.repository import CONTRACT_FILE
from tfllm.server.engine import Engine
from tfllm.server.inference import CLASSIFY, REGRESS
from tfllm.server.observers import Observers
from tfllm.server.page_load import LoadHistory
from tfllm.server.rest_api import Answer
from tfllm.server.signatures import DEFAULT_SIGNATURE, Signature, dtype_text
from tfllm.server.tokens import Caller
from tfllm.server.versions import ServedVersion, State

STATS_PATH = "/tfllm/stats"
_SCRIPTS = ("charts.js", "answers.js", "page.js")


class Page:
    """Answers browsers with the page, and the page with its figures.

    Args:
        engine: whose models are shown.
        observers: those who are told of requests; the page's history becomes one of them.
    """

    def __init__(self, engine: Engine, observers: Observers) -> None:
        self._engine = engine
        self._load = LoadHistory(lambda: engine.models)
        self._started = time.time()
        observers.add(self._load)

    def show(self, method: str, path: str, accept: str) -> Answer | None:
        """Answer a browser with the page, which has no figures in it; None for anything else.

        Args:
            method: the HTTP method.
            path: the path.
            accept: the header of this name: a browser's has text/html in it.
        """
        if path == "/" and method in ("GET", "HEAD") and "text/html" in accept:
            return Answer(200, document(), "text/html; charset=utf-8")
        return None

    def tell(self, method: str, path: str, rights: Caller | None, ready: bool) -> Answer | None:
        """Answer with the page's figures, of the models that the caller may use; None for another path.

        Args:
            method: the HTTP method.
            path: the path.
            rights: what the caller may do; None for everything.
            ready: whether the configured models are loaded.
        """
        if path != STATS_PATH or method not in ("GET", "HEAD"):
            return None
        models = [name for name in sorted(self._engine.models) if rights is None or rights.may_use(name)]
        labels = self._engine.labels
        found = {
            "server": {"version": __version__, "started": self._started, "now": time.time(), "ready": ready},
            "models": [_described(name, self._engine.versions(name), labels.get(name, {})) for name in models],
            "load": self._load.describe(models),
        }
        return Answer(200, json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))


@functools.cache
def document() -> bytes:
    """Return the page: one HTML document with a policy that lets nothing but its own parts run."""
    assets = importlib.resources.files("tfllm.server") / "page_assets"
    style = (assets / "page.css").read_text("utf-8")
    script = "\n".join((assets / name).read_text("utf-8") for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_fingerprint(style)}; script-src {_fingerprint(script)}"
    )
    page = (assets / "page.html").read_text("utf-8")
    for place, content in (("{{policy}}", policy), ("{{style}}", style), ("{{script}}", script)):
        page = page.replace(place, content)
    return page.encode()


def _fingerprint(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _described(name: str, versions: list[ServedVersion], labels: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "labels": dict(labels),
        "versions": [
            {
                "version": item.source.version,
                "state": item.state.name,
                "error": "" if item.error is None else item.error.details,
            }
            for item in reversed(versions)
        ],
    }
    newest = next((item for item in reversed(versions) if item.state is State.AVAILABLE), None)
    servable = None if newest is None else newest.servable
    if newest is not None and servable is not None:
        found["contract"] = _contract(newest.source.path)
        found["signatures"] = {
            title: _shape(signature)
            for title, signature in servable.signatures.items()
            if signature.feeds  # what takes nothing is TensorFlow's own
            and signature.definition.method_name not in (CLASSIFY, REGRESS)  # rows as `tf.Example`: nothing to type
        }
    return found


def _shape(signature: Signature) -> dict[str, Any]:
    definition = signature.definition
    return {
        "default": signature.name == DEFAULT_SIGNATURE,
        "inputs": {alias: dtype_text(definition.inputs[alias].dtype) for alias in signature.feeds},
        "outputs": {alias: dtype_text(definition.outputs[alias].dtype) for alias in signature.fetches},
    }


def _contract(folder: Path) -> dict[str, Any]:
    """Return what the page shows of a version's contract: its task and its labels; nothing of a foreign model."""
    file = folder / CONTRACT_FILE
    try:
        return _read_contract(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, AttributeError):  # none, or not one of ours
        return {"task": "", "labels": []}


@functools.lru_cache(maxsize=256)
def _read_contract(file: Path, changed: int) -> dict[str, Any]:
    stored = json.loads(file.read_text("utf-8"))
    labels = stored.get("labels", [])
    return {"task": str(stored.get("task", "")), "labels": labels if isinstance(labels, list) else []}
