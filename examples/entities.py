import keras

import tfllm

keras.utils.set_random_seed(0)
messages = tfllm.load_dataset("examples/travel_requests.jsonl", label="entities", label_kind="entities")
parts = messages.split_by("split")
model = tfllm.TokenClassifier.from_preset("all_minilm_l6_v2_en", labels=messages.labels)
tfllm.fine_tune(model, parts["train"], epochs=12, batch_size=8, learning_rate=1e-4, progress=False)
print(tfllm.evaluate(model.predict_text, parts["dev"], title="Travel requests"))

text = "👋 Anna Lindqvist flies from São Paulo to Kyoto\ton 12 May."
for found in model.predict_text(text):
    print(f"{found.entity:<8}{found.word!r:<18}{found.start:>3}-{found.end:<3}{text[found.start : found.end]!r}")
