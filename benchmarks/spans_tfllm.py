"""One contestant of the races over spans: tfllm on WNUT-17 entities or on SQuAD questions.

Command: python benchmarks/spans.py        Cost: see there
"""

import argparse
import json
from pathlib import Path

import keras

import tfllm

PRESET = "all_minilm_l6_v2_en"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["entities", "questions"])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("predictions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", default="spaces", choices=["spaces", "basic"], help="the data comes as tokens")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    if arguments.task == "entities":
        columns = {"text": "tokens", "label": "ner", "label_kind": "entities"}
        train, test = (tfllm.load_dataset(path, **columns) for path in (arguments.train, arguments.test))
        model = tfllm.TokenClassifier.from_preset(PRESET, labels=train.labels, max_length=128, words=arguments.words)
        settings = {"epochs": 3, "batch_size": 32, "learning_rate": 5e-5}
    else:
        train, test = (tfllm.load_dataset(path) for path in (arguments.train, arguments.test))
        model = tfllm.QuestionAnswerer.from_preset(PRESET, max_length=384, overlap=128)
        settings = {"epochs": 2, "batch_size": 12, "learning_rate": 3e-5}
    history = tfllm.fine_tune(model, train, warmup=0.1, weight_decay=0.01, seed=arguments.seed, **settings)
    answers = model.predict_text(test.texts)
    if arguments.task == "entities":
        found = [[[entity.start, entity.end, entity.entity] for entity in entities] for entities in answers]
    else:
        found = [answer.answer for answer in answers]
    Path(arguments.predictions).write_text(json.dumps(found), "utf-8")
    print(json.dumps({"train_seconds": round(sum(row["seconds"] for row in history.epochs), 1)}))


if __name__ == "__main__":
    main()
