#!/usr/bin/env python3
"""Makes pairs of sentences of the demo's text and says of each whether both come from one article: train.tsv and
valid.tsv, from the articles of train.txt and of valid.txt and test.txt.

usage: demo_bert_pairs.py TEXT_FOLDER OUT_FOLDER
"""
import os
import random
import re
import sys


def articles(*files):
    out, at = [], None
    for file in files:
        for line in open(file, encoding="utf-8"):
            line = line.strip()
            if re.fullmatch(r"= [^=].* =", line):
                at = []
                out.append(at)
            elif at is not None and line and not line.startswith("="):
                at += [s for s in re.split(r"(?<=[.!?]) +", line) if 40 <= len(s) <= 200 and "\t" not in s]
    return [a for a in out if len(a) >= 4]


def write(file, texts, count, seed):
    draw = random.Random(seed)
    with open(file, "w", encoding="utf-8") as out:
        out.write("first\tsecond\tarticle\n")
        for i in range(count):
            article = draw.choice(texts)
            if i % 2:
                first, second = draw.sample(article, 2)
            else:
                other = draw.choice([a for a in texts if a is not article])
                first, second = draw.choice(article), draw.choice(other)
            out.write(f"{first}\t{second}\t{'same' if i % 2 else 'other'}\n")


text, folder = sys.argv[1:3]
os.makedirs(folder, exist_ok=True)
write(f"{folder}/train.tsv", articles(f"{text}/train.txt"), 6000, 1)
write(f"{folder}/valid.tsv", articles(f"{text}/valid.txt", f"{text}/test.txt"), 800, 2)
