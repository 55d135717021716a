import tfllm

data = tfllm.load_dataset("examples/support_requests.csv", text="message", label="intent").split_by("split")
train, dev = data["train"], data["dev"]
model = tfllm.TextClassifier.from_preset("all_minilm_l6_v2_en", labels=train.labels, pooling="mean")
tfllm.fine_tune(model, train, validation_data=dev, epochs=3, learning_rate=1e-4, run_dir="runs/quickstart")
print(tfllm.evaluate(model.predict_text, dev, title="Support requests"))
version = tfllm.export(model, "saved_models/support", samples=dev.texts)
with tfllm.serve("saved_models/support", port=0) as server, tfllm.Client(server.address, model="support") as client:
    for answer in client.predict(["Where is my parcel?", "Please stop my plan in May.", "Works like a charm, thanks!"]):
        print(answer)
