"""Writes tests/data/tokenizer_{text.txt,hf.json,cases.json}: what Hugging Face's tokenizers and
tiktoken make of hostile text, for tests/tokenizer_test.cpp.

    pip install tokenizers tiktoken numpy
    python tools/make_tokenizer_fixtures.py --gpt2 DIR    # the folder of encoder.json and vocab.bpe

The small vocabulary is trained by `tokenizers` on text made here, so its tests need no other file;
the GPT-2 figures need GPT-2's own vocabulary."""
import argparse, json, pathlib, random
import numpy
import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests/data"
VOCAB = 600
BLOCK = 4096  # code points under one hash
# tiktoken's form of GPT-2's pattern.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

WORDS = (
    "the river runs over cold stones and under bridges where nobody remembers its former name although "
    "people still don't agree whether they'll ever rebuild what we've lost I'm sure she'd say it's fine "
    "THEY'RE WE'LL CAN'T numbers such as 1924 3.14159 1,000,000 and ½ Ⅻ ٣٤٥ appear beside naïve café "
    "Straße Ελλάδα Москва 日本語 文字 हिन्दी עברית العربية 한국어 🙂 👩‍👩‍👧 e\u0301 {} [] == != -> // <b> ... — “quoted” "
    "photosynthesis electromagnetic counterrevolutionary international internationalisation nation national"
).split()

HARD = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "a  b", "a   b", "x\n\n y", "x \n\n  y", "\t\tx", " \tx", "x ", "x  ", "x\n", "\r\nx\r\n",
    "don't DON'T Don'T", "we'll WE'LL", "'s 's 'S ''s '''", "they've they're I'm I'd", "' s", "x'", "'", "''", "'r", "'v", "'l", "'re've'll", "o'clock's",
    "rock'n'roll", "\u2019s don\u2019t", "1234567890", " 12 34", "1a2b3c", "½¼²³①Ⅻ٣", "a1 a 1 -1 - 1", "!!!", " !!!", "! !", "$100.00", "a.b.c", "...",
    "\u00a0", " \u00a0", "\u00a0 ", "a\u00a0b", "a\u3000b", "a \u3000 b", "\u2028\u2029", "a\u0085b", "\u180e", "\u200b\u200bx", "\ufeffx", "\x1c\x1d\x1e\x1f", "a\x1cb", "\x00", "a\x00\x00b",
    "e\u0301", "\u0301", " \u0301x", "हिन्दी", "👩‍👩‍👧‍👦🏽", "🇫🇷🇩🇪", "\U0010ffff", "\ud7ff\ue000", "\ufffd", "日本語の文章。", "ｆｕｌｌ　ｗｉｄｔｈ", "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|> <|endoftext|>",
]
RUNS = [" ", "\n", "a", "^", "=", "1", "\u00e9", "日", "🙂", "ab", " a", "a ", "\n ", "'s", "the", "\u3000"]
PIECES = ["'", "s", "t", "re", "ll", "S", " ", "  ", "\n", "\t", "\r", "a", "B", "é", "ß", "1", "½", "!", ".", "_", "-", "\u00a0", "\u3000", "\u2028", "日", "🙂", "\u0301", "\u200d", "٣", "ª", "ⅷ", "\x1f", "\x85", "the", "nation"]


def training_text():
    rng = random.Random(1)
    lines = []
    for line in range(300):
        words = [rng.choice(WORDS[: rng.choice([20, 60, len(WORDS)])]) for _ in range(rng.randrange(3, 16))]
        lines.append(" " * rng.choice([0, 0, 0, 1, 4]) + rng.choice([" ", " ", "  "]).join(words))
    lines += [c * n for c in ("a", "=", "ab", " ", "aba") for n in (2, 3, 7, 40)]
    return "\n".join(lines) + "\n"


def contexts(code):
    """One text with the code point alone, doubled, and next to letters, digits, punctuation, spaces."""
    c = chr(code)
    return f"{c} {c}{c} a{c}b 1{c}2 !{c}? '{c}s  {c}\n{c}\n\n {c}'s {c} "


def all_code_points():
    for first in range(0, 0x110000, BLOCK):
        yield [contexts(code) for code in range(first, first + BLOCK) if not 0xD800 <= code < 0xE000]


def hash_ids(ids):
    """sum of (id + 1) * m^position modulo 2^64"""
    with numpy.errstate(over="ignore"):
        powers = numpy.cumprod(numpy.full(len(ids), 0x9E3779B97F4A7C15, numpy.uint64))
        return f"{int(((numpy.array(ids, numpy.uint64) + 1) * powers).sum()):016x}" if len(ids) else "0" * 16


def random_texts():
    rng = random.Random(2)
    return ["".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 24))) for _ in range(150)]


def ill_formed():
    rng = random.Random(3)
    cases = [b"\x80", b"a\xffb", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf"]
    cases += [b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"x\xe2\x82y", b"\xf0\x9f\x99", b"\xf0\x9f\x99x", b"\xf0\x9f", b"\xf0", b"\xe2\x82\xac\xe2", b"\xc3", b"\xc3\xc3\xa9"]
    parts = [b"\xf0\x9f\x99\x82", b"\xe2\x82\xac", b"\xc3\xa9", b"abcdefghij", b"\xed\xa0", b"\xf4\x8f", b"\xf4\x90", b"\xe0\xa0", b"\xff", b"\x80\xbf", b"\xc2"]
    cases += [b"".join(part[: rng.randrange(1, len(part) + 1)] for part in rng.choices(parts, k=rng.randrange(2, 9))) for _ in range(60)]
    return [(case, case.decode("utf-8", errors="replace")) for case in cases]


def outcomes(encode_batch):
    hard = [[text, ids] for text, ids in zip(HARD + random_texts(), encode_batch(HARD + random_texts()))]
    runs = []
    for unit in RUNS:
        for size in (2, 5, 31, 64, 3001):
            ids, = encode_batch(["x" + unit * size + "y"])
            runs.append([unit, size, len(ids), hash_ids(ids)])
    blocks = [hash_ids([i for ids in encode_batch(block) for i in ids]) for block in all_code_points()]
    return {"texts": hard, "runs": runs, "code_points": blocks}


arguments = argparse.ArgumentParser()
arguments.add_argument("--gpt2", required=True, help="folder of GPT-2's encoder.json and vocab.bpe")
gpt2 = pathlib.Path(arguments.parse_args().gpt2)

text = training_text()
small = Tokenizer(models.BPE())
small.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
small.decoder = decoders.ByteLevel()
small.train_from_iterator(
    [text],
    trainers.BpeTrainer(vocab_size=VOCAB - 1, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
)
model = json.loads(small.to_str())
ranks = data_gym_to_mergeable_bpe_ranks(str(gpt2 / "vocab.bpe"), str(gpt2 / "encoder.json"))
large = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})

cases = {
    # Encoded before <|endoftext|> is added, which `tokenizers` would find in the text.
    "small": outcomes(lambda texts: [e.ids for e in small.encode_batch(texts)]),
    "gpt2": outcomes(large.encode_ordinary_batch),
    "ill_formed": [[case.hex(), repaired, repaired.count("\ufffd")] for case, repaired in ill_formed()],
}
small.add_special_tokens(["<|endoftext|>"])
DATA.mkdir(exist_ok=True)
(DATA / "tokenizer_text.txt").write_text(text)
small.save(str(DATA / "tokenizer_hf.json"), pretty=False)
(DATA / "tokenizer_cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")).replace('"],["', '"],\n["') + "\n")
for name in ("text.txt", "hf.json", "cases.json"):
    print(name, (DATA / f"tokenizer_{name}").stat().st_size)
