import keras

import tfllm

keras.utils.set_random_seed(0)
data = tfllm.load_dataset("examples/hotel_reviews.csv", text="review", label="aspects", label_kind="labels")
train, dev = data.split(0.3, seed=0)
model = tfllm.TextClassifier.from_preset(
    "all_minilm_l6_v2_en", labels=train.labels, multi_label=True, pooling="mean", focal_gamma=1.0
)
tfllm.fine_tune(model, train, epochs=8, learning_rate=3e-4, batch_size=16, progress=False)
print(model.tune_thresholds(dev))
print(tfllm.evaluate(model.predict_text, dev, title="Hotel reviews"))
texts = ["The porter was rude, and the bread was stale.", "A sunny room.", "We left on Sunday."]
for answer in model.predict_text(texts):
    print(answer.labels)
