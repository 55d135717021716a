"""Answer questions about a library with the words of a text, or say that the text does not answer.

    python examples/questions.py [--quick]

The 40 questions of `library_questions.json`, in the layout of SQuAD 2.0, are made up for this project.
"""

import argparse
from pathlib import Path

import tfllm

QUESTIONS = Path(__file__).with_name("library_questions.json")
HELD_OUT = ("computers", "garden")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a micro model, to see that everything runs")
    quick = parser.parse_args().quick
    frame = tfllm.load_dataset(QUESTIONS).frame
    columns = {"text": "question", "text_pair": "context", "label": "answers", "label_kind": "answers"}
    held_out = frame["title"].isin(HELD_OUT)
    train, dev = (tfllm.load_dataset(rows, **columns) for rows in (frame[~held_out], frame[held_out]))
    model = tfllm.QuestionAnswerer.from_preset("micro_bert" if quick else "all_minilm_l6_v2_en", max_length=128)
    tfllm.fine_tune(model, train, epochs=1 if quick else 30, batch_size=8, learning_rate=2e-4)
    print(f"no answer from {model.tune_no_answer(train):.2f} on")
    print(tfllm.evaluate(model.predict_text, dev, title="Library questions"))

    context = "The swimming pool opens at seven. A ticket for the day costs four euros, and towels can be hired."
    for question in ("What does a ticket cost?", "When does the swimming pool open?"):
        print(question, model.predict_text([(question, context)])[0])


if __name__ == "__main__":
    main()
