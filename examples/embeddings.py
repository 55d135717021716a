import numpy as np

import tfllm

questions = ["How do I reset my password?", "Where is my parcel?", "Can I pay by bank transfer?"]
asked = ["I cannot log in.", "The delivery has not come."]

model = tfllm.TextEmbedder.from_preset("all_minilm_l6_v2_en")
vectors = model.encode_text(questions)
print(vectors.shape, vectors.dtype, np.linalg.norm(vectors, axis=1).round(3))
for text, row in zip(asked, model.similarity(asked, questions), strict=True):
    print(f"{row.max():.3f}  {text} -> {questions[row.argmax()]}")
print(model.encode_text(questions, dim=128).shape)
