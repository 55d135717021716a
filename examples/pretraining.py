import tfllm

data = tfllm.load_dataset("examples/support_requests.csv", text="message", label="intent").split_by("split")
texts = data["train"].texts
vocabulary = tfllm.train_vocabulary(texts, "runs/words/vocab.txt", vocabulary_size=800)
model = tfllm.MaskedLM.from_scratch(vocabulary, layers=2, width=64, heads=2, max_length=32, dropout=0.0)
history = tfllm.pretrain(
    model, texts, run_dir="runs/words", epochs=5, steps_per_epoch=80, batch_size=16, learning_rate=3e-3,
    validation_fraction=0.1, progress=False,
)  # fmt: skip
for row in history.epochs:
    print(f"epoch {row['epoch']}: loss {row['loss']:.1f}, on held-out text {row['val_loss']:.1f}")
model.save_to_preset("runs/words/model")
classifier = tfllm.TextClassifier.from_preset("runs/words/model", labels=data["train"].labels, pooling="mean")
tfllm.fine_tune(classifier, data["train"], epochs=5, learning_rate=1e-3, progress=False)
print(f"accuracy {tfllm.evaluate(classifier.predict_text, data['dev']).metrics['accuracy']:.2f}")
