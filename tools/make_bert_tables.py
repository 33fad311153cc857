"""Writes strobe/data/bert_tables.cpp: what BERT's normaliser and pre-tokenizer do with each code point.

    python3 -m venv /tmp/tables && /tmp/tables/bin/pip install unicodedata2==16.0.0 tokenizers
    /tmp/tables/bin/python tools/make_bert_tables.py

Every entry is asked of Hugging Face's tokenizers, whose parts follow several versions of Unicode: categories (of its crate
unicode_categories) and decompositions are older than the case mappings and White_Space (of Rust's standard library). What
BERT's published vocabularies were made with is older still; the words are to be theirs, so the tables are. The standard's own
data (the package unicodedata2) only proposes combining classes, each of which is then checked."""
import itertools, pathlib, sys
import tokenizers, unicodedata2
from tokenizers import normalizers, pre_tokenizers

OUT = pathlib.Path(__file__).resolve().parent.parent / "strobe/data/bert_tables.cpp"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
FORBIDDEN, SPACE, PUNCTUATION, IDEOGRAPH, MARK, DECOMPOSES, LOWERS, COMBINING = (1 << bit for bit in range(8))


def normaliser(**on):
    settings = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**settings, **on}).normalize_str


clean, chinese = normaliser(clean_text=True), normaliser(handle_chinese_chars=True)
strip, lower = normaliser(strip_accents=True), normaliser(lowercase=True)
cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str


def combining_classes(marks):
    """Of code points that strip_accents moves but keeps, and the set of all that others move past."""
    proposed = {code: unicodedata2.combining(chr(code)) for code in CODES if unicodedata2.combining(chr(code))}
    late, early = chr(0x1D16D), chr(0x1D165)  # classes 226 and 216, neither of them removed
    passed = {code for code in CODES if (moved := strip("a" + late + chr(code) + early)).find(early) < moved.rfind(late)}
    kept = {code: proposed[code] for code in sorted(passed - marks)}
    for a, b in itertools.permutations(kept, 2):
        swapped = kept[b] < kept[a]
        if strip("a" + chr(a) + chr(b)) != "a" + (chr(b) + chr(a) if swapped else chr(a) + chr(b)):
            sys.exit(f"U+{a:04X} U+{b:04X}: not in the order of their combining classes")
    return kept, passed


def mapping(changed, to):
    rows = []
    for code in changed:
        result = [ord(c) for c in to(chr(code))]
        assert len(result) <= 3, hex(code)
        rows.append("{" + ", ".join([f"{code:#x}"] + [f"{{{', '.join(f'{c:#x}' for c in result)}}}"]) + "}")
    return rows


def lines_of(items, width=98):
    line = "   "
    for item in items:
        if len(line) + 2 + len(item) > width:
            yield line
            line = "   "
        line += f" {item},"
    yield line


marks = {code for code in CODES if strip("a" + chr(code)) == "a"}
decomposed = [code for code in CODES if code not in marks and code not in HANGUL and strip(chr(code)) != chr(code)]
lowered = [code for code in CODES if lower(chr(code)) != chr(code)]
classes, passed = combining_classes(marks)


def properties(code):
    c = chr(code)
    pieces = len(cut(f"a{c}b"))
    has = {
        FORBIDDEN: clean(c) == "",
        SPACE: pieces == 2,
        PUNCTUATION: pieces == 3,
        IDEOGRAPH: chinese(c) != c,
        MARK: code in marks,
        DECOMPOSES: code not in marks and strip(c) != c,
        LOWERS: lower(c) != c,
        COMBINING: code in passed,
    }
    if has[SPACE] and not has[FORBIDDEN]:
        assert clean(c) == " "
    return sum(bit for bit, holds in has.items() if holds)


found, last = [], None
for code in CODES:
    if (now := properties(code)) != last:
        found.append(f"{{{code:#x}, {now:#x}}}")
        last = now
text = [
    f"// Made by tools/make_bert_tables.py from tokenizers {tokenizers.__version__}; do not edit.",
    "// clang-format off",
    '#include "strobe/data/bert_tables.h"',
    "",
    "namespace strobe::bert_tables {",
    "",
]
for kind, name, items in (
    ("Range", "ranges", found),
    ("Mapping", "decompositions", mapping(decomposed, strip)),
    ("Mapping", "lower_case", mapping(lowered, lower)),
    ("CombiningClass", "combining_classes", [f"{{{code:#x}, {value}}}" for code, value in classes.items()]),
):
    text += [f"const {kind} {name}_data[] = {{", *lines_of(items), "};", f"const std::span<const {kind}> {name}({name}_data);", ""]
text.append("}  // namespace strobe::bert_tables")
OUT.write_text("\n".join(text) + "\n")
print(f"{OUT}: {len(found)} ranges, {len(decomposed)} decompositions, {len(lowered)} lower-case mappings, {len(classes)} combining classes")
