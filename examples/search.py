import pandas as pd

import tfllm

articles = pd.read_csv("examples/help_articles.csv")
model = tfllm.TextEmbedder.from_preset("all_minilm_l6_v2_en")

index = tfllm.SearchIndex(model)
index.add(articles["article"].tolist(), ids=articles["id"].tolist())

for mode, query in [("meaning", "I cannot log in"), ("words", "E-4012"), ("both", "payment refused, E-4012")]:
    print(f"{query} ({mode})")
    for hit in index.search(query, k=2, mode=mode):
        print(f"  {hit.score:.3f}  {hit.id:<10} {hit.text[:60]}")

print(index.save("indexes/help").path)
print(tfllm.SearchIndex.load("indexes/help", model))
