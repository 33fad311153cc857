#!/usr/bin/env python3
"""Compares strobe's embeddings of fifty texts with those that PyTorch made (tests/data/minilm.safetensors), and shows a few.

usage: demo_bert_embeddings.py STROBE RUN FIXTURE
"""
import json
import struct
import subprocess
import sys
import tempfile

strobe, run, fixture = sys.argv[1:4]
SHOWN = 5

with open(fixture, "rb") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(size))
    data = file.read()
texts = json.loads(header["__metadata__"]["texts"])
begin, end = header["embeddings"]["data_offsets"]
values = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
width = header["embeddings"]["shape"][1]
expected = [values[i * width : (i + 1) * width] for i in range(len(texts))]


def embeddings(texts, *columns):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for first, second in texts:
            file.write(json.dumps({"first": first, "second": second}) + "\n")
        file.flush()
        done = subprocess.run([strobe, "predict", run, "--file", file.name, "--json", *columns], stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return [json.loads(line)["embedding"] for line in done.stdout.decode().splitlines()]


singles = [text for text in texts if not text[1]]
pairs = [text for text in texts if text[1]]
by_text = dict(zip(map(tuple, singles + pairs), embeddings(singles, "--text-column", "first")
                   + embeddings(pairs, "--text-column", "first", "--pair-column", "second"), strict=True))
found = [by_text[tuple(text)] for text in texts]
differences = [max(abs(a - b) for a, b in zip(x, y)) for x, y in zip(found, expected, strict=True)]
print("Embeddings by MiniLM, strobe's against PyTorch's:")
for row, text, difference in list(zip(found, texts, differences))[:SHOWN]:
    similar = sum(a * b for a, b in zip(found[0], row))
    print(f"  largest difference {difference:.1e}   similar to the first: {similar:5.2f}   {text[0]}")
print(f"  largest difference over all {len(texts)} texts: {max(differences):.1e}")
if max(differences) > 1e-4:
    sys.exit("embeddings differ from PyTorch's")
