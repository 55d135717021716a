"""One contestant of the understanding race: tfllm."""

import keras
import numpy as np

import tfllm
from tfllm.tasks.text_regressor import TextRegressor


def train_and_answer(race, frames, labels, seed, pooling):
    """Return probabilities `(rows, labels)` or numbers `(rows,)` of dev and test, and the seconds of training."""
    pair = "text_pair" if "text_pair" in frames["train"] else None
    kind = "value" if race.regression else "label"
    train = tfllm.load_dataset(frames["train"], text_pair=pair, label="target", label_kind=kind)
    keras.utils.set_random_seed(seed)
    settings = {"max_length": race.max_length, "pooling": pooling}
    if race.regression:
        model = TextRegressor.from_preset("all_minilm_l6_v2_en", **TextRegressor.head_of(train), **settings)
    else:
        model = tfllm.TextClassifier.from_preset(
            "all_minilm_l6_v2_en", labels=labels, marked_entities=race.marked_entities, **settings
        )
    history = tfllm.fine_tune(
        model,
        train,
        epochs=race.epochs,
        batch_size=race.batch_size,
        learning_rate=race.learning_rate,
        warmup=0.1,
        weight_decay=0.01,
        seed=seed,
        progress=False,
    )
    outputs = {}
    for part in ("dev", "test"):
        texts = frames[part]["text"].tolist()
        texts = list(zip(texts, frames[part]["text_pair"].tolist(), strict=True)) if pair else texts
        answers = model.predict_text(texts)
        outputs[part] = np.array([a.value for a in answers] if race.regression else [a.scores for a in answers])
    return outputs, sum(row["seconds"] for row in history.epochs)
