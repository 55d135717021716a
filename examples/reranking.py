import keras

import tfllm

keras.utils.set_random_seed(0)
data = tfllm.load_dataset("examples/help_centre.csv", text="question", text_pair="answer", label=None)
model = tfllm.Reranker.from_preset("all_minilm_l6_v2_en", pooling="mean", negatives=3)
tfllm.fine_tune(model, data, epochs=20, learning_rate=2e-4, batch_size=8, progress=False)  # right pairs alone

answers = data.frame["answer"].tolist()
for result in model.rank("I forgot my password", answers, top_k=2):
    print(result)

model.save_to_preset("runs/reranker")
tfllm.export(model, "saved_models/reranker", samples=data.texts[:3])
with tfllm.serve("saved_models/reranker", port=0) as server, tfllm.Client(server.address, model="reranker") as client:
    print(tfllm.rank(client.predict, "I forgot my password", answers, top_k=1))
