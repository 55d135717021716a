import keras
import pandas as pd

import tfllm

keras.utils.set_random_seed(0)
data = tfllm.load_dataset("examples/support_requests.csv", text="message", label="intent").split_by("split")
train, dev = data["train"], data["dev"]
others = [
    "What is the capital of Peru?",
    "Sing me a song about winter.",
    "How do I bake bread without yeast?",
    "Who won the match last night?",
    "Tell me a joke.",
    "Is it going to rain in Leeds tomorrow?",
    "Translate good morning into Finnish.",
    "My cat sleeps all day.",
]
other_rows = pd.DataFrame({"message": others, "intent": "out_of_scope"})
mixed = tfllm.load_dataset(pd.concat([dev.frame, other_rows]), text="message", label="intent")

model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=train.labels, pooling="mean")
tfllm.fine_tune(model, train, epochs=3, learning_rate=1e-4, progress=False)  # rows in scope alone
model.tune_out_of_scope(mixed, label="out_of_scope")
report = tfllm.evaluate(model.predict_text, mixed, out_of_scope="out_of_scope")
for name in ("in_scope_accuracy", "out_of_scope_recall", "out_of_scope_precision", "out_of_scope_auroc"):
    print(name, round(report.metrics[name], 3))
for answer in model.predict_text(["Where is my parcel?", "What is seven times eight?"]):
    print(answer.label)
