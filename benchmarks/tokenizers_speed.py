"""Time the tokenizers of the graph beside KerasHub's and the libraries' own, on the same texts and vocabularies.

    TFLLM_DATA=... python benchmarks/tokenizers_speed.py [--texts 2000] [--vocabulary 8000] [--rounds 5]

Vocabularies are trained on the texts (SST-2 sentences); WordPiece takes that of the MiniLM weights.
"""

import argparse
import csv
import io
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_hub
import sentencepiece
import tensorflow as tf
from tokenizers import Tokenizer
from tokenizers.implementations import ByteLevelBPETokenizer

from tfllm import presets
from tfllm.tasks.preprocessing import TextPreprocessor

BATCH = 32


def word_piece(texts, size):
    folder = presets._packaged_folder(presets._PACKAGED["all_minilm_l6_v2_en"])
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.no_padding()
    library.no_truncation()
    tokenizer = presets.load_encoder("all_minilm_l6_v2_en", load_weights=False).tokenizer
    return tokenizer, lambda batch: [e.ids for e in library.encode_batch(batch, add_special_tokens=False)]


def sentence_piece(texts, size):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=size,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    library = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    def encode(batch):
        return [[3 if i == 0 else i + 1 for i in row] for row in library.encode(batch)]

    return keras_hub.tokenizers.XLMRobertaTokenizer(proto=model.getvalue()), encode


def byte_pair(texts, size):
    library = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    library.train_from_iterator(texts, vocab_size=size, special_tokens=special, show_progress=False)
    model = json.loads(library.to_str())["model"]
    tokenizer = keras_hub.tokenizers.RobertaTokenizer(
        vocabulary=model["vocab"], merges=[" ".join(pair) for pair in model["merges"]]
    )
    return tokenizer, lambda batch: [e.ids for e in library.encode_batch(batch, add_special_tokens=False)]


def time_all(encode, batches, rounds):
    """Return milliseconds for a batch: first pass over all texts, then the median of the further passes."""
    passes = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for batch in batches:
            encode(batch)
        passes.append((time.perf_counter() - start) / len(batches) * 1000)
    return round(passes[0], 2), round(statistics.median(passes[1:]), 2)


def race(make, texts, options):
    tokenizer, library = make(texts, options.vocabulary)
    preprocess = TextPreprocessor(tokenizer)
    in_graph = tf.function(preprocess.graph_tokenizer.tokenize, [tf.TensorSpec([None], tf.string)], autograph=False)
    peer = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    contestants = {
        "library": library,
        "KerasHub": lambda batch: peer(tf.constant(batch)).to_list(),
        "tfllm": lambda batch: in_graph(tf.constant(batch)).to_list(),
        "tfllm with places": lambda batch: preprocess.locate_tokens(tf.constant(batch)).ids.to_list(),
    }
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    expected = library(texts)
    for name, encode in contestants.items():
        other = sum(a != b for batch, at in zip(batches, range(0, len(texts), BATCH), strict=True)
                    for a, b in zip(encode(batch), expected[at : at + BATCH], strict=True))  # fmt: skip
        first, later = time_all(encode, batches, options.rounds)
        row = {
            "tokenizer": make.__name__,
            "by": name,
            "texts with other ids": other,
            "ms a batch": later,
            "first": first,
        }
        print(json.dumps(row), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    file = Path(os.environ["TFLLM_DATA"]) / "sst2" / "train_sentences.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        texts = [" ".join(row["sentence"].split()) for row in csv.DictReader(stream)][: options.texts]
    for make in (word_piece, sentence_piece, byte_pair):
        race(make, texts, options)


if __name__ == "__main__":
    main()
