"""One side of the race to an accuracy: Transformers' Trainer, with its length grouping and dynamic padding."""

import argparse
import json
import tempfile

import torch
from training_speed_transformers import load, trainer_of
from training_to_accuracy import Target, add_arguments, read_rows, share_of


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args()
    dev = read_rows(arguments.data, "dev.csv")
    tokenizer, model = load()

    def accuracy() -> float:
        model.eval()
        answers = []
        with torch.inference_mode():
            for start in range(0, len(dev), 64):
                texts = dev["sentence"].tolist()[start : start + 64]
                answers += model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.argmax(1).tolist()
        model.train()
        return share_of(answers, dev["label"].tolist())

    rows = read_rows(arguments.data, "train_phrases.csv.gz")
    target = Target(arguments.target, arguments.most_seconds, accuracy)
    with tempfile.TemporaryDirectory() as folder:
        settings = {name: getattr(arguments, name) for name in ("precision", "epochs", "learning_rate")}
        trainer = trainer_of(rows, tokenizer, model, target, folder, **settings)
        target.start()
        trainer.train()
    print(json.dumps(target.result()))


if __name__ == "__main__":
    main()
