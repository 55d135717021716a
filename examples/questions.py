import keras

import tfllm

keras.utils.set_random_seed(0)
data = tfllm.load_dataset("examples/library_questions.json")
model = tfllm.QuestionAnswerer.from_preset("all_minilm_l6_v2_en", max_length=128)
tfllm.fine_tune(model, data, epochs=30, batch_size=8, learning_rate=2e-4, progress=False)
print(tfllm.evaluate(model.predict_text, data, title="Library questions, which it has seen"))

text = data.frame["context"].iloc[0]
answer = model.predict_text([("On Saturdays, when does the library close?", text)])[0]
print(answer.answer, answer.start, answer.end, text[answer.start : answer.end] == answer.answer)
