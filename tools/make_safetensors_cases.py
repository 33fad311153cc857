"""Writes tests/data/safetensors_cases.txt. A line a file: the verdict of the format's reference reader
(or "written", for one that its writer made), the file in hexadecimal ("-" if empty), what it is about.
Needs the safetensors package and numpy. Usage: make_safetensors_cases.py OUT"""
import struct, sys

import numpy
from safetensors import deserialize
from safetensors.numpy import save


def file(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(dtype='"F32"', shape="[2]", offsets="[0,8]", more=""):
    return '{"a":{"dtype":%s,"shape":%s,"data_offsets":%s%s}}' % (dtype, shape, offsets, more)


EIGHT = b"abcdefgh"
good = tensor()
cases = {
    "good": file(good, EIGHT),
    "no tensors": file("{}"),
    "rank 0": file(tensor(shape="[]", offsets="[0,4]"), b"abcd"),
    "empty tensor": file(tensor(shape="[0,5]", offsets="[0,0]")),
    "two in order of name, data reversed": file(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', EIGHT),
    "spaces before": file("  " + good, EIGHT),
    "line breaks before": file("\n\r\t" + good, EIGHT),
    "spaces after": file(good + "     ", EIGHT),
    "line break after": file(good + "\n", EIGHT),
    "NUL after": file(good + "\0", EIGHT),
    "NUL and more after": file(good + "\0}}{", EIGHT),
    "letters after": file(good + "x", EIGHT),
    "another object after": file(good + "{}", EIGHT),
    "byte order mark before": file(b"\xef\xbb\xbf" + good.encode(), EIGHT),
    "comment": file("/**/" + good, EIGHT),
    "comma at the end": file(good[:-1] + ",}", EIGHT),
    "name in Unicode": file('{"ä\\u00e9\\ud83d\\ude00":' + good[5:], EIGHT),
    "name of half a surrogate": file('{"\\ud83d":' + good[5:], EIGHT),
    "name not UTF-8": file(b'{"\xff":' + good[5:].encode(), EIGHT),
    "name empty": file('{"":' + good[5:], EIGHT),
    "control character in a name": file('{"\x01":' + good[5:], EIGHT),
    "header not UTF-8": file(b"\xff" * 16, EIGHT),
    "header a list": file("[]"),
    "header a number": file("1"),
    "header empty": file(""),
    "header null": file("null"),
    "no bytes": b"",
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "eight bytes": b"\x02\0\0\0\0\0\0\0",
    "size beyond the file": file(good, EIGHT, size=1000),
    "size one too small": file(good, EIGHT, size=len(good) - 1),
    "size hostile": file(good, EIGHT, size=2**64 - 1),
    "size above the limit": file(good, EIGHT, size=100_000_001),
    "metadata": file('{"__metadata__":{"format":"pt"},' + good[1:], EIGHT),
    "metadata empty": file('{"__metadata__":{},' + good[1:], EIGHT),
    "metadata a number": file('{"__metadata__":{"a":1},' + good[1:], EIGHT),
    "metadata nested": file('{"__metadata__":{"a":{}},' + good[1:], EIGHT),
    "metadata null": file('{"__metadata__":null,' + good[1:], EIGHT),
    "metadata a tensor": file('{"__metadata__":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', EIGHT),
    "data cut": file(good, EIGHT[:-1]),
    "data cut away": file(good),
    "data trailing": file(good, EIGHT + b"x"),
    "hole before": file(tensor(offsets="[4,12]"), EIGHT + b"abcd"),
    "hole between": file(
        '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}', b"abcde"),
    "overlap": file(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', EIGHT),
    "same data twice": file(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', EIGHT),
    "empty tensor in between": file(
        '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},'
        '"c":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}', b"abcd"),
    "empty tensor inside another": file(
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}', b"abcd"),
    "offsets reversed": file(tensor(offsets="[8,0]"), EIGHT),
    "offsets negative": file(tensor(offsets="[-8,0]"), EIGHT),
    "offsets fractional": file(tensor(offsets="[0.0,8.0]"), EIGHT),
    "offsets with exponent": file(tensor(offsets="[0,8e0]"), EIGHT),
    "offset minus zero": file(tensor(offsets="[-0,8]"), EIGHT),
    "offset with a leading zero": file(tensor(offsets="[00,8]"), EIGHT),
    "offsets text": file(tensor(offsets='["0","8"]'), EIGHT),
    "offsets three": file(tensor(offsets="[0,8,8]"), EIGHT),
    "offsets one": file(tensor(offsets="[8]"), EIGHT),
    "offset of 2^64 - 1": file(tensor(offsets="[0,18446744073709551615]"), EIGHT),
    "offset of 2^64": file(tensor(offsets="[0,18446744073709551616]"), EIGHT),
    "offset of 2^63": file(tensor(offsets="[0,9223372036854775808]"), EIGHT),
    "shape too large": file(tensor(shape="[3]"), EIGHT),
    "shape too small": file(tensor(shape="[1]"), EIGHT),
    "shape negative": file(tensor(shape="[-2]"), EIGHT),
    "shape fractional": file(tensor(shape="[2.0]"), EIGHT),
    "shape a number": file(tensor(shape="2"), EIGHT),
    "shape null": file(tensor(shape="null"), EIGHT),
    "shape overflows": file(tensor(shape="[4611686018427387904,4]"), EIGHT),
    "shape overflows, then 0": file(tensor(shape="[4611686018427387904,4,0]", offsets="[0,0]")),
    "shape overflows in bits only": file(tensor(shape="[576460752303423489]"), EIGHT),
    "shape of rank 9": file(tensor(shape="[1,1,1,1,1,1,1,1,2]"), EIGHT),
    "dtype unknown": file(tensor(dtype='"F31"'), EIGHT),
    "dtype in small letters": file(tensor(dtype='"f32"'), EIGHT),
    "dtype a number": file(tensor(dtype="32"), EIGHT),
    "F4 half a byte": file(tensor('"F4"', "[3]", "[0,1]"), b"x"),
    "F4 whole bytes": file(tensor('"F4"', "[4]", "[0,2]"), b"xy"),
    "F6 three bytes": file(tensor('"F6_E2M3"', "[4]", "[0,3]"), b"xyz"),
    "key missing": file('{"a":{"dtype":"F32","shape":[2]}}', EIGHT),
    "key unknown": file(tensor(more=',"x":1'), EIGHT),
    "key twice": file(tensor(more=',"shape":[2]'), EIGHT),
    "tensor twice": file('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' + good[1:], EIGHT),
    "tensor a list": file('{"a":["F32",[2],[0,8]]}', EIGHT),
    "tensor null": file('{"a":null}'),
    "deep": file('{"a":' + "[" * 300 + "]" * 300 + "}"),
}
for name in ["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16",
             "I32", "U32", "F32", "C64", "F64", "I64", "U64"]:
    bits = 64 if name == "C64" else 8 if name[:3] in ("F8_", "BOO", "U8", "I8") else int("".join(c for c in name if c.isdigit()))
    cases["dtype " + name] = file(tensor(f'"{name}"', f"[{64 // bits}]"), EIGHT)


def verdict(blob):
    try:
        deserialize(blob)
        return True
    except Exception:
        return False


written = save({"b": numpy.arange(3, dtype=numpy.int32), "a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
                'quoted "name" \u00e9': numpy.arange(5, dtype=numpy.uint8), "c": numpy.array(7, dtype=numpy.float32)}, {"format": "pt"})
lines = [("accepted" if verdict(blob) else "refused", blob, name) for name, blob in cases.items()]
lines.append(("written", written, "four tensors of three types"))
with open(sys.argv[1], "w") as out:
    for kind, blob, name in lines:
        out.write(f"{kind} {blob.hex() or '-'} {name}\n")
print(sum(kind == "accepted" for kind, _, _ in lines), "of", len(cases), "accepted")
