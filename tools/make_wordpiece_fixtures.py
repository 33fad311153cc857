"""Writes tests/data/wordpiece_{hf,cased,cases}.json: what Hugging Face's tokenizers makes of hostile text with BERT's normaliser,
words and pieces, for tests/wordpiece_test.cpp.

    pip install tokenizers numpy
    python tools/make_wordpiece_fixtures.py

The vocabularies are trained by `tokenizers` on tests/data/tokenizer_text.txt."""
import json, pathlib, random
import numpy
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests/data"
BLOCK = 4096  # code points under one hash
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# clean_text, handle_chinese_chars, strip_accents, lowercase
SETTINGS = [(True, True, None, True), (True, True, None, False), (False, False, True, False), (True, False, False, True), (False, True, True, True), (False, False, False, False)]

HARD = [
    "", " ", "\n", "\t\r\n", "a  b", "x\n\n y", "don't DON'T", "we'll we've n't", "$100.00", "a.b,c!d?e", "...", "Hello, World !", "O'Clock", "naïve café ÉCOLE", "Ångström", "Straße ẞ", "İstanbul ıI", "ΑΣ ας Σ", "Ǆ ǅ ǆ",
    "e\u0301", "\u0301", "a\u0301\u0323b", "a\u0323\u0301b", "\u0344x", "q\u0307\u0323", "한국어", "각\u1100\u1161\u11a8", "日本語の文章。", "漢字kanji漢字", "\uf900\ufa0e", "\U0002b820\U0002b91f\U0002b920", "ｆｕｌｌ　ｗｉｄｔｈ",
    "हिन्दी", "ক্ষ", "עִבְרִית", "العَرَبِيَّة", "👩‍👩‍👧‍👦🏽", "🇫🇷", "\u00a0a\u00a0", "a\u200bb", "a\u00adb", "a\u0085b", "a\x0bb\x0cc", "\x00a\x00", "a\x1cb", "\ufffd", "\ufeffx", "\u2028\u2029", "\u180e", "\ue000x", "\U0010ffff",
    "[MASK]", "the [MASK] is", "[ MASK ]", "[UNK]", "##ing", "# #", "a##b", "\u037e\u1fef\u2000", "½ ² ① Ⅻ ٣", "\U0001d15e\U0001d165\u302e\u302f", "\U0001d16d\U0001d165", "\U0001d16d\u0300\U0001d165", "\U0001d16d\u0902\U0001d165", "\U00016ff0\u302e",
    "a" * 99, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "\u0301" * 150 + "a", "İ" * 100, "İ" * 51, "각" * 34, "각" * 33, "日" * 150, "river" * 20, "river" * 21, "xqz", "riverxqz", "the\u0301river",
]
RUNS = ["a", " ", "^", "\n", "é", "日", "🙂", "ab", "\u0301", "e\u0301", "\U0001d16d\U0001d165", "the", "각", "'s", "\u0302\u0323"]
PIECES = ["'", "s", "re", "S", " ", "  ", "\n", "\t", "\r", "a", "B", "É", "é", "ß", "İ", "1", "½", "!", ".", "_", "\u00a0", "\u3000", "\u2028", "日", "🙂", "\u0301", "\u0323", "\u200d", "٣", "\x1f", "\x85", "\x0b", "the", "Nation", "각", "\u1100", "\u1161"]
PIECES += ["\U0001d16d", "\U0001d165", "\U0001d15e", "\u302e", "\u302f", "\U00016ff0", "\u0902", "\u05b4", "\ufb1d", "\u0344", "\u09cb", "\ufffd", "\x00", "##", "[MASK]", "\uf900", "\u4e00", "\u037e"]


def contexts(code):
    c = chr(code)
    return f"{c} {c}{c} a{c}b 1{c}2 !{c}? '{c}s É{c}é {c}\u0301 \U0001d16d{c}\U0001d165 "


def short_contexts(code):
    return f"a{chr(code)}b {chr(code)}"


def hash_ids(ids):
    """sum of (id + 1) * m^position modulo 2^64"""
    with numpy.errstate(over="ignore"):
        powers = numpy.cumprod(numpy.full(len(ids), 0x9E3779B97F4A7C15, numpy.uint64))
        return f"{int(((numpy.array(ids, numpy.uint64) + 1) * powers).sum()):016x}" if len(ids) else "0" * 16


def normalizer_of(settings):
    return normalizers.BertNormalizer(**dict(zip(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), settings)))


def word_codes(normalizer, text):
    """The words' code points, 0x110000 after each."""
    codes = []
    for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text)):
        codes += [ord(c) for c in word] + [0x110000]
    return codes


def normalisation(settings, context):
    normalizer = normalizer_of(settings)
    blocks = []
    for first in range(0, 0x110000, BLOCK):
        codes = []
        for code in range(first, first + BLOCK):
            if not 0xD800 <= code < 0xE000:
                codes += word_codes(normalizer, context(code))
        blocks.append(hash_ids(codes))
    rng = random.Random(4)
    texts = HARD + ["".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 24))) for _ in range(400)]
    return {"settings": settings, "code_points": blocks, "texts": [[text, hash_ids(word_codes(normalizer, text))] for text in texts]}


def train(text, vocabulary, lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, min_frequency=2, limit_alphabet=1000, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(text.split("\n"), trainer)
    return tokenizer


def learnt(text, vocabulary, lowercase, rounds=100):
    """Of equally frequent pairs the package takes one by the order of hash tables that differ from call to call: what it always
    learns, and what it sometimes does."""
    found = [set(train(text, vocabulary, lowercase).get_vocab()) for _ in range(rounds)]
    return {"always": sorted(set.intersection(*found)), "sometimes": sorted(set.union(*found))}


def outcomes(tokenizer):
    # Without added tokens, which `tokenizers` would find in the text.
    bare = Tokenizer(models.WordPiece(json.loads(tokenizer.to_str())["model"]["vocab"], unk_token="[UNK]"))
    bare.normalizer, bare.pre_tokenizer, bare.decoder = tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder
    rng = random.Random(5)
    texts = HARD + ["".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 24))) for _ in range(100)]
    texts += [" ".join(rng.choice(["the river", "numbers", "don't", "!", "?", "It's", ". . .", ",", "3.14", "— “quoted”"]) for _ in range(8)) for _ in range(20)]
    rows = []
    for text in texts:
        ids = bare.encode(text).ids
        rows.append([text, ids, bare.decode(ids)])
    runs = []
    for unit in RUNS:
        for size in (2, 31, 64, 3001):
            ids = bare.encode("x" + unit * size + "y").ids
            runs.append([unit, size, len(ids), hash_ids(ids)])
    return {"texts": rows, "runs": runs, "marked": [[text, tokenizer.encode(text).ids] for text in HARD if "[" in text]}


text = (DATA / "tokenizer_text.txt").read_text()
uncased, cased = train(text, 350, True), train(text, 350, False)
uncased.save(str(DATA / "wordpiece_hf.json"), pretty=False)
cased.save(str(DATA / "wordpiece_cased.json"), pretty=False)
cases = {
    "normalisation": [normalisation(s, contexts if i == 0 else short_contexts) for i, s in enumerate(SETTINGS)],
    "learnt": {"wordpiece": learnt(text, 350, True), "wordpiece-cased": learnt(text, 350, False)},
    "uncased": outcomes(uncased),
    "cased": outcomes(cased),
}
(DATA / "wordpiece_cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")).replace('"],["', '"],\n["') + "\n")
for name in ("hf", "cased", "cases"):
    print(name, (DATA / f"wordpiece_{name}.json").stat().st_size)
