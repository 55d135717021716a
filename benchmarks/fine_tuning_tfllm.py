"""One contestant of the fine-tuning race: tfllm on SST-2 sentences.

Command: python benchmarks/run.py fine_tuning        Cost: about 5 minutes a seed on 2 cores
Expected: dev accuracy about 0.87 with the MiniLM weights
"""

import argparse
import json

import keras

import tfllm


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0)
    arguments = parser.parse_args()
    parts = {
        name: tfllm.load_dataset(f"{arguments.data}/{name}.csv", text="sentence", label="label")
        for name in ("train_sentences", "dev", "test")
    }
    train = parts["train_sentences"]
    if arguments.rows:
        train = tfllm.TextDataset(train.frame.head(arguments.rows), text="sentence", label="label")
    keras.utils.set_random_seed(arguments.seed)
    model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=train.labels, max_length=128)
    history = tfllm.fine_tune(
        model, train, epochs=2, batch_size=32, learning_rate=5e-5, warmup=0.1, weight_decay=0.01, seed=arguments.seed
    )
    seconds = sum(row["seconds"] for row in history.epochs)
    print(
        json.dumps(
            {
                "dev_accuracy": tfllm.evaluate(model.predict_text, parts["dev"]).accuracy,
                "test_accuracy": tfllm.evaluate(model.predict_text, parts["test"]).accuracy,
                "examples_per_second": round(2 * len(train) / seconds, 1),
                "train_seconds": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
