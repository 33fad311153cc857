"""Writes strobe/data/unicode_tables.cpp: the classes \\p{L}, \\p{N}, \\s of every code point.

    python3 -m venv /tmp/tables && /tmp/tables/bin/pip install unicodedata2==16.0.0 tiktoken
    /tmp/tables/bin/python tools/make_unicode_tables.py

The Unicode version is the one tiktoken and Hugging Face's tokenizers split by, so that the pieces
are theirs; with tiktoken installed every code point is compared with it before anything is written.
Letters and numbers come from the Unicode Character Database (through the package unicodedata2),
White_Space, which has not changed since Unicode 6.3, from the list below (PropList.txt)."""
import pathlib, sys
import unicodedata2

VERSION = "16.0"
BLOCK = 256
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
OTHER, LETTER, NUMBER, SPACE = range(4)  # strobe::CharClass
OUT = pathlib.Path(__file__).resolve().parent.parent / "strobe/data/unicode_tables.cpp"


def char_class(code):
    if code in WHITE_SPACE:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata2.category(chr(code))[0], OTHER)


def compare_with_tiktoken(classes):
    try:
        import tiktoken
    except ImportError:
        print("not compared with tiktoken, which is not installed")
        return
    ranks = {bytes([b]): b for b in range(256)}
    for kind, pattern in ((LETTER, r"\p{L}"), (NUMBER, r"\p{N}"), (SPACE, r"\s")):
        matcher = tiktoken.Encoding(pattern, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        for code, found in enumerate(classes):
            if not 0xD800 <= code < 0xE000 and bool(matcher.encode_ordinary(chr(code))) != (found == kind):
                sys.exit(f"U+{code:04X} {pattern}: the tables and tiktoken differ")
    print("equal to tiktoken on every code point")


def lines_of(items, width=98):
    line = "   "
    for item in items:
        if len(line) + 2 + len(item) > width:
            yield line
            line = "   "
        line += f" {item},"
    yield line


if not unicodedata2.unidata_version.startswith(VERSION):
    sys.exit(f"unicodedata2 holds Unicode {unicodedata2.unidata_version}; {VERSION} is wanted")
classes = [char_class(code) for code in range(0x110000)]
compare_with_tiktoken(classes)
used = max(code for code, kind in enumerate(classes) if kind != OTHER) // BLOCK + 1
rows, index = [], []
for block in range(used):
    row = tuple(sum(classes[block * BLOCK + word * 32 + i] << 2 * i for i in range(32)) for word in range(BLOCK // 32))
    if row not in rows:
        rows.append(row)
    index.append(rows.index(row))
assert len(rows) <= 256
text = [
    f"// Made by tools/make_unicode_tables.py from Unicode {VERSION}; do not edit.",
    "// clang-format off",
    '#include "strobe/data/unicode_tables.h"',
    "",
    "namespace strobe::unicode_tables {",
    "",
    f'const std::string_view version = "{VERSION}";',
    "",
    f"static_assert(block_size == {BLOCK} && blocks == {used});",
    "const uint8_t index[blocks] = {",
    *lines_of(str(i) for i in index),
    "};",
    "",
    "const uint64_t classes[] = {",
    *lines_of(f"{word:#x}" for row in rows for word in row),
    "};",
    "",
    "}  // namespace strobe::unicode_tables",
]
OUT.write_text("\n".join(text) + "\n")
print(f"{OUT}: {used} blocks, {len(rows)} of them distinct")
