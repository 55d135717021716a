"""Find persons, cities, dates and carriers in messages to a travel agency, and say where they stand.

    python examples/entities.py [--quick]

The 160 messages of `travel_requests.jsonl` are made up for this project.
"""

import argparse
from pathlib import Path

import tfllm

MESSAGES = Path(__file__).with_name("travel_requests.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a micro model, to see that everything runs")
    quick = parser.parse_args().quick
    parts = tfllm.load_dataset(MESSAGES, label="entities", label_kind="entities").split_by("split")
    train, dev = parts["train"], parts["dev"]
    model = tfllm.TokenClassifier.from_preset("micro_bert" if quick else "all_minilm_l6_v2_en", labels=train.labels)
    tfllm.fine_tune(model, train, epochs=1 if quick else 12, batch_size=8, learning_rate=1e-4)
    report = tfllm.evaluate(model.predict_text, dev, title="Travel requests")
    print(report)
    print(report.tables[0].to_dict())

    text = "Hi 👋 Anna Lindqvist flies from São Paulo to Kyoto\ton 12 May."
    for found in model.predict_text(text):
        print(f"{found.entity:<8}{found.word!r:<18}{found.start:>3}-{found.end:<3}{text[found.start : found.end]!r}")


if __name__ == "__main__":
    main()
