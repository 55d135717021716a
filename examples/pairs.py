import keras
import pandas as pd

import tfllm

keras.utils.set_random_seed(0)
frame = pd.read_csv("examples/sentence_pairs.csv")
frame["says"] = frame["similarity"].ge(2.5).map({True: "the same", False: "something else"})
data = tfllm.load_dataset(frame, text="first", text_pair="second", label="says")
train, dev = data.split(0.25, seed=0)
model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=train.labels, pooling="mean")
tfllm.fine_tune(model, train, epochs=8, learning_rate=2e-4, batch_size=16, progress=False)
print(tfllm.evaluate(model.predict_text, dev, title="Pairs of sentences"))
fence = "They are repairing the wooden fence."
pairs = [(fence, "The wooden fence is being repaired by them."), (fence, "They are painting the fence.")]
for pair, answer in zip(pairs, model.predict_text(pairs), strict=True):
    print(pair, answer.label)
