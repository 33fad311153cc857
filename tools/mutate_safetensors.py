"""Compares strobe's safetensors reader with the format's own package on mutants of good files: strobe may refuse more, each
time for a reason listed here, and never takes what the package refuses; what both take, both read alike.

    pip install safetensors numpy
    python tools/mutate_safetensors.py [--mutants 20000] [--seed 1] [--strobe build/strobe]"""
import argparse, collections, json, pathlib, random, re, struct, subprocess, sys, tempfile

try:
    import numpy
    from safetensors import deserialize
    from safetensors.numpy import save
except ImportError as error:
    print(f"NOTHING WAS TESTED: {error}; tools/setup.sh all")
    sys.exit(77)

parser = argparse.ArgumentParser()
parser.add_argument("--mutants", type=int, default=20000)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--strobe", default="build/strobe")
args = parser.parse_args()
rng = random.Random(args.seed)

# What the package takes although the format forbids it, or strobe has no use for, by strobe's message.
STRICTER = {
    "a tensor with other keys, or that is no object": "must have dtype, shape and data_offsets and nothing else",
    "a key twice": "appears twice",
    "metadata null": "__metadata__ is not an object",
    "keys that are ignored, nested deeply": "nested too deeply",
    "a dimension of 2^63 or more, of a tensor without elements": "a dimension of",
}


def file(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def arrays(*shapes):
    types = [numpy.float32, numpy.float16, numpy.int64, numpy.uint8, numpy.bool_, numpy.float64, numpy.int32]
    return {f"layer.{i}.weight": numpy.arange(int(numpy.prod(s))).reshape(s).astype(rng.choice(types)) for i, s in enumerate(shapes)}


SEEDS = [
    save(arrays((2, 3), (4,), ())), save(arrays((1, 1, 1), (0, 5), (3,)), {"format": "pt"}), save({}), save(arrays(*[(i,) for i in range(1, 9)]), {"a": "b", "ü": "\"\\"}),
    file('{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[2,6]}}', b"abcdef"),
    file('{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"C64","shape":[1],"data_offsets":[2,10]}}', b"0123456789"),
    file(' \n{"a":{"shape":[2],"data_offsets":[0,8],"dtype":"F32"},"e":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}   ', b"abcdefgh"),
]
NUMBERS = ["0", "1", "2", "-1", "-0", "8", "7", "1e1", "1.0", "0.5", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1" * 40, "null", "true", '"2"', "[]", "01"]
TYPES = ["BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "f32", "F31", ""]
SNIPPETS = ['"x":1,', '"dtype":"F32",', '"__metadata__":{"a":"b"},', '"__metadata__":null,', '"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},', "{", "}", "[", "]", ",", ":", '"', "\\u0000", "\\ud83d", "\0", "\xff", " ", "\n", "/**/", "\ufeff", "[[", "]]", '{"x":{"y":{"z":{}}}}']


def parts(blob):
    size = struct.unpack("<Q", blob[:8])[0]
    return blob[8 : 8 + size], blob[8 + size :]


def mutate_header(header):
    text = header.decode("latin-1")
    kind = rng.randrange(6)
    if kind == 0 and (found := list(re.finditer(r"\d+", text))):
        m = rng.choice(found)
        number = rng.choice(NUMBERS + [str(int(m[0][:18]) + d) for d in (-4, -1, 1, 4)])
        text = text[: m.start()] + number + text[m.end() :]
    elif kind == 1 and (found := list(re.finditer(r'"[A-Z]+\d[A-Z0-9_]*"', text))):
        m = rng.choice(found)
        text = text[: m.start()] + f'"{rng.choice(TYPES)}"' + text[m.end() :]
    elif kind == 2 and (found := list(re.finditer(r'"[^"]*":', text))):
        m, n = rng.choice(found), rng.choice(found)
        text = text[: m.start()] + rng.choice([n[0], "", '"shape":', '"dtype":', '"data_offsets":', '"__metadata__":']) + text[m.end() :]
    elif kind == 3:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(SNIPPETS) + text[at:]
    elif kind == 4 and text:
        a = rng.randrange(len(text))
        b = min(len(text), a + rng.randrange(1, 30))
        text = text[:a] + (text[a:b] * 2 if rng.random() < 0.5 else "") + text[b:]
    elif text:
        at = rng.randrange(len(text))
        text = text[:at] + chr(ord(text[at]) & 0xFF ^ 1 << rng.randrange(8)) + text[at + 1 :]
    return text.encode("latin-1", "replace") if all(ord(c) < 256 for c in text) else text.encode("utf-8")


WIDTHS = [["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"], ["I16", "U16", "F16", "BF16"], ["I32", "U32", "F32"], ["C64", "F64", "I64", "U64"]]


def disguise_header(header):
    """A change that may well leave the file good."""
    text = header.decode("utf-8", "replace")
    kind = rng.randrange(6)
    if kind == 0:  # white space, where it may stand
        places = [m.start() for m in re.finditer(r"[{}\[\],:]", text)]
        at = rng.choice(places) if places else 0
        text = text[:at] + rng.choice([" ", "\n", "\t", "\r", "   "]) + text[at:]
    elif kind == 1:  # a type as wide
        for group in rng.sample(WIDTHS, 4):
            if found := [m for m in re.finditer(r'"([A-Z]+\d*[A-Z0-9_]*)"', text) if m[1] in group]:
                m = rng.choice(found)
                text = text[: m.start()] + f'"{rng.choice(group)}"' + text[m.end() :]
                break
    elif kind == 2 and (found := list(re.finditer(r'"shape":\s*\[([0-9, ]*)\]', text))):  # as many elements
        m = rng.choice(found)
        sizes = [s for s in m[1].split(",") if s.strip()] + ["1"] * rng.randrange(3)
        rng.shuffle(sizes)
        text = text[: m.start()] + f'"shape":[{",".join(sizes)}]' + text[m.end() :]
    elif kind == 3 and (found := list(re.finditer(r'"([a-z]|layer\.\d+\.weight)"', text))):  # another name, an escape
        m = rng.choice(found)
        text = text[: m.start()] + rng.choice(['"renamed"', '"\\u00e9"', '"\\ud83d\\ude00"', '"layer.0.weight"', '""', '"a/b\\"c"', '"\\/"']) + text[m.end() :]
    elif kind == 4:
        text = text.replace("{", rng.choice(['{"__metadata__":{"k":"v"},', '{"__metadata__":{},']), 1).replace(",}", "}")
    else:
        text += rng.choice([" ", "\n", "       "])
    return text.encode()


def mutate(blob):
    if len(blob) < 8:
        return blob + bytes([rng.randrange(256)])
    header, data = parts(blob)
    kind = rng.random()
    if kind < 0.4:
        return file(disguise_header(header), data)
    if kind < 0.7:
        return file(mutate_header(header), data)
    if kind < 0.8:
        size = rng.choice([0, 1, len(header) - 1, len(header) + 1, len(header) + len(data), 2**63, 2**64 - 1, 100_000_001, rng.randrange(2**16)]) % 2**64
        return struct.pack("<Q", size) + header + data
    if kind < 0.9:
        return file(header, data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data + bytes(rng.randrange(1, 9)))
    if kind < 0.95:
        return blob[: rng.randrange(len(blob))]
    at = rng.randrange(len(blob))
    return blob[:at] + bytes([blob[at] ^ 1 << rng.randrange(8)]) + blob[at + 1 :]


def reference(blob):
    try:
        return {name: (t["dtype"], list(t["shape"]), len(t["data"])) for name, t in deserialize(blob)}
    except Exception as error:  # the package's own, and Python's for names that are no Unicode
        return error


mutants = {}
while len(mutants) < args.mutants:
    blob = rng.choice(SEEDS)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        blob = mutate(blob)
    mutants[blob] = None
outcomes, wrong = collections.Counter(), []
BATCH = 1000
blobs = list(mutants)
with tempfile.TemporaryDirectory() as folder:
    for first in range(0, len(blobs), BATCH):
        files = []
        for i, blob in enumerate(blobs[first : first + BATCH]):
            files.append(f"{folder}/{i}")
            pathlib.Path(files[-1]).write_bytes(blob)
        run = subprocess.run([args.strobe, "tensors", "--json", *files], capture_output=True)
        lines = run.stdout.decode().splitlines()
        if run.returncode not in (0, 1) or len(lines) != len(files):
            sys.exit(f"strobe ended with {run.returncode} after {len(lines)} of {len(files)} files: {run.stderr.decode()[-2000:]}")
        for blob, line in zip(blobs[first : first + BATCH], lines):
            own, expected = json.loads(line), reference(blob)
            refused = isinstance(expected, Exception)
            if "error" in own:
                reason = next((name for name, text in STRICTER.items() if text in own["error"]), None)
                if reason and reason.startswith("a dimension") and not any(int(n) >= 2**63 for n in re.findall(rb"\d+", blob)):
                    reason = None
                if refused:
                    outcomes["both refuse"] += 1
                elif reason:
                    outcomes[f"strobe alone refuses: {reason}"] += 1
                else:
                    wrong.append((blob, own["error"], "taken by the package"))
            elif refused:
                wrong.append((blob, "taken by strobe", str(expected)))
            else:
                found = {t["name"]: (t["dtype"], t["shape"], t["offsets"][1] - t["offsets"][0]) for t in own["tensors"]}
                outcomes["both take, and read alike"] += 1
                if found != expected:
                    wrong.append((blob, str(found), str(expected)))
for name, count in outcomes.most_common():
    print(f"{count:7} {name}")
for blob, own, peer in wrong[:10]:
    print("DIFFERENT:", blob[:300], "|", own, "|", peer)
print(f"{len(blobs)} mutants, seed {args.seed}: {len(wrong)} differ")
sys.exit(bool(wrong))
