"""tfllm: production NLP on TensorFlow. Labelled text in, a served model out.

Importing this package loads nothing heavy: each public name is loaded when it is first used, so a client process never
loads TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

from tfllm._version import __version__

if TYPE_CHECKING:
    from tfllm.client.aio import AsyncClient
    from tfllm.client.client import Client
    from tfllm.client.config import ConnectionConfig, TlsConfig
    from tfllm.client.mock import MockTransport
    from tfllm.data.cleaning import TextCleaner
    from tfllm.data.labels import LabelMap
    from tfllm.data.schema import TextDataset
    from tfllm.data.sources import load_dataset
    from tfllm.data.vocabulary import train_vocabulary
    from tfllm.errors import PartialFailure, TfllmError
    from tfllm.evaluation.baselines import train_baseline
    from tfllm.evaluation.beir import RetrievalData, load_beir
    from tfllm.evaluation.embeddings import evaluate_similarity
    from tfllm.evaluation.judging import evaluate
    from tfllm.evaluation.report import Report
    from tfllm.evaluation.retrieval import evaluate_retrieval, evaluate_search
    from tfllm.exporting.graph_batching import GraphBatching
    from tfllm.exporting.saved_model import export
    from tfllm.ranking import rank
    from tfllm.results import (
        Answer,
        Classification,
        Embedding,
        Entities,
        Entity,
        FilledMask,
        MultiLabel,
        Ranking,
        Regression,
        Relevance,
    )
    from tfllm.search.hits import Hit
    from tfllm.search.index import SearchIndex
    from tfllm.server.server import Server, serve
    from tfllm.tasks.embedding_loss import EmbeddingLoss
    from tfllm.tasks.masked_lm import MaskedLM
    from tfllm.tasks.question_answerer import QuestionAnswerer
    from tfllm.tasks.registry import load_task
    from tfllm.tasks.reranker import Reranker
    from tfllm.tasks.text_classifier import TextClassifier
    from tfllm.tasks.text_embedder import TextEmbedder
    from tfllm.tasks.text_regressor import TextRegressor
    from tfllm.tasks.token_classifier import TokenClassifier
    from tfllm.training.fine_tuning import fine_tune
    from tfllm.training.pretraining import pretrain
    from tfllm.training.pretraining_settings import PretrainConfig
    from tfllm.training.runs import list_runs
    from tfllm.training.settings import FineTuneConfig
    from tfllm.training.static_embeddings import StaticEmbeddings, train_static_embeddings
    from tfllm.training.strategy import get_strategy
    from tfllm.training.tuning import TuneResult, tune

_HOME = {
    "Answer": "tfllm.results",
    "AsyncClient": "tfllm.client.aio",
    "Classification": "tfllm.results",
    "Client": "tfllm.client.client",
    "ConnectionConfig": "tfllm.client.config",
    "Embedding": "tfllm.results",
    "EmbeddingLoss": "tfllm.tasks.embedding_loss",
    "Entities": "tfllm.results",
    "Entity": "tfllm.results",
    "FilledMask": "tfllm.results",
    "FineTuneConfig": "tfllm.training.settings",
    "GraphBatching": "tfllm.exporting.graph_batching",
    "Hit": "tfllm.search.hits",
    "LabelMap": "tfllm.data.labels",
    "MaskedLM": "tfllm.tasks.masked_lm",
    "MockTransport": "tfllm.client.mock",
    "MultiLabel": "tfllm.results",
    "PartialFailure": "tfllm.errors",
    "PretrainConfig": "tfllm.training.pretraining_settings",
    "QuestionAnswerer": "tfllm.tasks.question_answerer",
    "Ranking": "tfllm.results",
    "Regression": "tfllm.results",
    "Relevance": "tfllm.results",
    "Report": "tfllm.evaluation.report",
    "Reranker": "tfllm.tasks.reranker",
    "RetrievalData": "tfllm.evaluation.beir",
    "SearchIndex": "tfllm.search.index",
    "Server": "tfllm.server.server",
    "StaticEmbeddings": "tfllm.training.static_embeddings",
    "TextClassifier": "tfllm.tasks.text_classifier",
    "TextCleaner": "tfllm.data.cleaning",
    "TextDataset": "tfllm.data.schema",
    "TextEmbedder": "tfllm.tasks.text_embedder",
    "TextRegressor": "tfllm.tasks.text_regressor",
    "TfllmError": "tfllm.errors",
    "TlsConfig": "tfllm.client.config",
    "TokenClassifier": "tfllm.tasks.token_classifier",
    "TuneResult": "tfllm.training.tuning",
    "evaluate": "tfllm.evaluation.judging",
    "evaluate_retrieval": "tfllm.evaluation.retrieval",
    "evaluate_search": "tfllm.evaluation.retrieval",
    "evaluate_similarity": "tfllm.evaluation.embeddings",
    "export": "tfllm.exporting.saved_model",
    "fine_tune": "tfllm.training.fine_tuning",
    "get_strategy": "tfllm.training.strategy",
    "list_runs": "tfllm.training.runs",
    "load_beir": "tfllm.evaluation.beir",
    "load_dataset": "tfllm.data.sources",
    "load_task": "tfllm.tasks.registry",
    "pretrain": "tfllm.training.pretraining",
    "rank": "tfllm.ranking",
    "serve": "tfllm.server.server",
    "train_baseline": "tfllm.evaluation.baselines",
    "train_static_embeddings": "tfllm.training.static_embeddings",
    "train_vocabulary": "tfllm.data.vocabulary",
    "tune": "tfllm.training.tuning",
}

_EXTRAS = {
    "client": None,
    "errors": None,
    "ranking": None,
    "results": None,
    "search": "search",
    "server": "server",
    "tfllm.training.tuning": "tune",
}

__all__ = [
    "Answer",
    "AsyncClient",
    "Classification",
    "Client",
    "ConnectionConfig",
    "Embedding",
    "EmbeddingLoss",
    "Entities",
    "Entity",
    "FilledMask",
    "FineTuneConfig",
    "GraphBatching",
    "Hit",
    "LabelMap",
    "MaskedLM",
    "MockTransport",
    "MultiLabel",
    "PartialFailure",
    "PretrainConfig",
    "QuestionAnswerer",
    "Ranking",
    "Regression",
    "Relevance",
    "Report",
    "Reranker",
    "RetrievalData",
    "SearchIndex",
    "Server",
    "StaticEmbeddings",
    "TextClassifier",
    "TextCleaner",
    "TextDataset",
    "TextEmbedder",
    "TextRegressor",
    "TfllmError",
    "TlsConfig",
    "TokenClassifier",
    "TuneResult",
    "__version__",
    "evaluate",
    "evaluate_retrieval",
    "evaluate_search",
    "evaluate_similarity",
    "export",
    "fine_tune",
    "get_strategy",
    "list_runs",
    "load_beir",
    "load_dataset",
    "load_task",
    "pretrain",
    "rank",
    "serve",
    "train_baseline",
    "train_static_embeddings",
    "train_vocabulary",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'tfllm' has no attribute '{name}'")
    home = _HOME[name]
    try:
        value = getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("tfllm"):
            raise
        extra = _EXTRAS.get(home, _EXTRAS.get(home.split(".")[1], "train"))
        if extra is None:
            raise
        raise ImportError(
            f"tfllm.{name} needs the package '{error.name}', which is not installed. "
            f"Install it with: pip install 'tfllm[{extra}]'",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
