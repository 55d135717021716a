import keras

import tfllm

keras.utils.set_random_seed(0)
data = tfllm.load_dataset("examples/relations.csv", text="sentence", label="relation")
train, dev = data.split(0.25, seed=0)
model = tfllm.TextClassifier.from_preset(
    "all_minilm_l6_v2_en", labels=train.labels, marked_entities=True, pooling="mean"
)
tfllm.fine_tune(model, train, epochs=8, learning_rate=3e-4, batch_size=16, progress=False)
print("accuracy", round(tfllm.evaluate(model.predict_text, dev).accuracy, 2))
print(model.predict_text("<e1>Nadia Brandt</e1> set up <e2>Alder Tools</e2> in 1998.").label)
print(model.predict_text("<e1>Alder Tools</e1> has its offices in <e2>Ghent</e2>.").label)
