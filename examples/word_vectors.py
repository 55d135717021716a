import tfllm

data = tfllm.load_dataset("examples/support_requests.csv", text="message", label="intent").split_by("split")
texts = data["train"].texts
vocabulary = tfllm.train_vocabulary(texts, vocabulary_size=800)
model = tfllm.MaskedLM.from_scratch(vocabulary, layers=2, width=64, heads=2, max_length=32, dropout=0.0)
static = tfllm.train_static_embeddings(model, texts, method="skip_gram", epochs=20, progress=False)
static.initialize(model)
model.save_to_preset("runs/vectors/model")
classifier = tfllm.TextClassifier.from_preset("runs/vectors/model", labels=data["train"].labels, pooling="mean")
tfllm.fine_tune(classifier, data["train"], epochs=5, learning_rate=1e-3, progress=False)
baseline = tfllm.train_baseline(static.encode_text, data["train"])
report = tfllm.evaluate(classifier.predict_text, data["dev"], baselines={"word vectors": baseline.predict_text})
print(f"model {report.accuracy:.2f}, baseline {report.baselines['word vectors']['accuracy']:.2f}")
