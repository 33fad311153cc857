"""Writes tests/data/glue_cases.json: metrics by scikit-learn and scipy, truncated lengths and encoded pairs by Hugging Face's
tokenizers, and CSV as Python's csv module reads it, for tests/glue_test.cpp.

    pip install numpy scipy scikit-learn tokenizers
    python tools/make_glue_fixtures.py"""
import csv, io, json, math, pathlib, random, warnings
import numpy
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests/data"
warnings.simplefilter("ignore")
rng = numpy.random.default_rng(1)


def number(value):
    return None if math.isnan(value) else float(value)


def metrics():
    rows = []
    for case in range(60):
        size = int(rng.integers(1, 400)) if case > 5 else case + 1
        classes = int(rng.integers(2, 5))
        labels = rng.integers(0, classes, size)
        predicted = numpy.where(rng.random(size) < rng.random(), labels, rng.integers(0, classes, size))
        if case % 10 == 7:
            predicted[:] = 1
        if case % 10 == 8:
            labels[:] = 0
        rows.append({
            "predicted": predicted.tolist(), "labels": labels.tolist(), "accuracy": accuracy_score(labels, predicted),
            "f1": f1_score(labels == 1, predicted == 1, zero_division=0), "matthews": matthews_corrcoef(labels, predicted),
        })
    for case in range(40):
        size = int(rng.integers(2, 300))
        labels = numpy.round(rng.random(size) * 5, int(rng.integers(0, 3)))  # with equal values
        predicted = (labels * rng.normal() + rng.normal(size=size) * rng.random() * 3 + rng.normal() * 100).astype(numpy.float32)
        if case % 10 == 3:
            predicted = numpy.round(predicted)
        if case % 10 == 4:
            predicted[:] = 2.5
        labels = labels.astype(numpy.float32)
        a, b = predicted.astype(float), labels.astype(float)
        rows.append({"predicted": a.tolist(), "labels": b.tolist(), "pearson": number(pearsonr(a, b)[0]), "spearman": number(spearmanr(a, b)[0])})
    return rows


def truncations():
    tokenizer = Tokenizer.from_file(str(DATA / "wordpiece_hf.json"))
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    generator, rows, words = random.Random(3), [], "the river runs over cold stones and numbers don't remember its name !".split()
    for _ in range(300):
        longest = generator.randrange(5, 40)
        texts = [" ".join(generator.choice(words) for _ in range(generator.randrange(0, 30))) for _ in range(generator.choice([1, 2, 2]))]
        tokenizer.enable_truncation(longest, strategy="longest_first")
        encoding = tokenizer.encode(*texts)
        rows.append([longest, texts, encoding.ids, sum(t == 0 for t in encoding.type_ids)])
    return rows


def tables():
    generator, rows = random.Random(4), []
    pieces = ["a", "b c", ",", '"', "\n", "\r\n", "\t", "é", "", " ", "'", "日本"]
    for _ in range(200):
        width = generator.randrange(2, 5)
        table = [["".join(generator.choices(pieces, k=generator.randrange(0, 4))) for _ in range(width)] for _ in range(generator.randrange(1, 5))]
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator=generator.choice(["\n", "\r\n"]), quoting=generator.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])).writerows([[f"c{i}" for i in range(width)]] + table)
        rows.append([out.getvalue(), list(csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True))[1:]])
    return rows


cases = {"metrics": metrics(), "pairs": truncations(), "csv": tables()}
(DATA / "glue_cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{").replace("],[", "],\n[") + "\n")
print((DATA / "glue_cases.json").stat().st_size)
