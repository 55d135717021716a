import keras

import tfllm

keras.utils.set_random_seed(0)
data = tfllm.load_dataset("examples/library_questions.json")
train, dev = data.split(0.25, seed=0)
model = tfllm.QuestionAnswerer.from_preset("all_minilm_l6_v2_en", max_length=128)
tfllm.fine_tune(model, train, epochs=30, batch_size=8, learning_rate=2e-4, progress=False)
print(tfllm.evaluate(model.predict_text, dev, title="Library questions"))

text = "The swimming pool opens at seven. A ticket for the day costs four euros, and towels can be hired."
answer = model.predict_text([("When does the swimming pool open?", text)])[0]
print(answer.answer, answer.start, answer.end, text[answer.start : answer.end] == answer.answer)
