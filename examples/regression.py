import keras

import tfllm
from tfllm import TextRegressor

keras.utils.set_random_seed(0)
data = tfllm.load_dataset(
    "examples/sentence_pairs.csv", text="first", text_pair="second", label="similarity", label_kind="value"
)
train, dev = data.split(0.25, seed=0)
model = TextRegressor.from_preset("all_minilm_l6_v2_en", value_range=(0.0, 5.0), pooling="mean")
tfllm.fine_tune(model, train, epochs=8, learning_rate=2e-4, batch_size=8, progress=False)
print(tfllm.evaluate(model.predict_text, dev, title="Sentence pairs"))
pairs = [("A man is cutting wood.", "Wood is cut by a man."), ("A man is cutting wood.", "It is noon.")]
print(model.predict_text(pairs))
