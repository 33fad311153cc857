#!/usr/bin/env python3
"""compare_attention.py [cpu|cuda] [--dropout P] [--dtype bf16|f32] [--algorithms flash3] [--strobe build/strobe]

strobe's attention beside torch's scaled_dot_product_attention (cuDNN on a GPU, flash on a CPU), shape by shape: strobe, the
peer, strobe again; a row of a table each, TFLOP/s forward / backward. Operations are counted as the papers do: 4 B H T^2 D
forward, half when causal, 2.5 times that backward. On a GPU the order of strobe's backward is free, as cuDNN's is, with the
fixed one beside it. The tables of docs/flash3.md have these shapes. Needs torch."""
import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# batch, heads, tokens, head size, causal
GPU = [(32, 12, 1024, 64, True), (32, 16, 512, 64, False), (4, 32, 4096, 64, True), (1, 32, 16384, 64, True), (1, 32, 16384, 64, False),
       (16, 16, 1024, 128, True), (4, 16, 4096, 128, True), (1, 16, 16384, 128, True),
       (16, 16, 1024, 128, False), (4, 16, 4096, 128, False), (1, 16, 16384, 128, False)]
CPU = [(1, 12, 1024, 64, True), (8, 12, 512, 64, False), (1, 12, 4096, 64, True)]


def seconds(body, cuda):
    """The median of single runs; on a GPU of ten at a time, by its clock."""
    each, out = (10 if cuda else 1), []
    for _ in range(2):
        body()
    for _ in range(7):
        if cuda:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(each):
                body()
            end.record()
            torch.cuda.synchronize()
            out.append(begin.elapsed_time(end) / 1e3 / each)
        else:
            begin = time.perf_counter()
            body()
            out.append(time.perf_counter() - begin)
    return statistics.median(out)


def peer(shape, dtype, dropout, device):
    batch, heads, tokens, size, causal = shape
    q, k, v = (torch.randn(batch, heads, tokens, size, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    gradient = torch.randn_like(q)
    work = 4 * batch * heads * tokens**2 * size * (0.5 if causal else 1) / 1e12
    backend = SDPBackend.CUDNN_ATTENTION if device == "cuda" else SDPBackend.FLASH_ATTENTION
    with sdpa_kernel(backend):
        forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)
        with torch.no_grad():
            f = seconds(forward, device == "cuda")
        o = forward()
        b = seconds(lambda: torch.autograd.grad(o, (q, k, v), gradient, retain_graph=True), device == "cuda")
    return work / f, 2.5 * work / b


def strobe(shape, args, *more):
    batch, heads, tokens, size, causal = shape
    command = [args.strobe, "bench", "attention", "--backend", args.device, "--dtype", args.dtype, "--batch", str(batch), "--heads",
               str(heads), "--seq", str(tokens), "--head-dim", str(size), f"--causal={str(causal).lower()}", "--dropout",
               str(args.dropout), "--algorithms", args.algorithms, "--packed", "--json", *more]
    row = json.loads(subprocess.run(command, check=True, text=True, capture_output=True).stdout)[0]
    if row["busy"]:
        sys.exit(f"compare_attention: the machine is busy: no rate of {' '.join(command)}")
    return row["forward_gflops"] / 1e3, row["backward_gflops"] / 1e3


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("device", nargs="?", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--dropout", type=float, default=0)
parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
parser.add_argument("--algorithms", default="automatic")
parser.add_argument("--strobe", default="build/strobe")
args = parser.parse_args()
cuda = args.device == "cuda"
dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32

print("| shape | strobe forward / backward | peer | ratio | strobe, fixed order |\n|---|---|---|---|---|")
for shape in GPU if cuda else CPU:
    free = ["--any-order"] if cuda else []
    before, other, after = strobe(shape, args, *free), peer(shape, dtype, args.dropout, args.device), strobe(shape, args, *free)
    f, b = (statistics.mean(x) for x in zip(before, after))
    both = (3.5 / (1 / f + 2.5 / b)) / (3.5 / (1 / other[0] + 2.5 / other[1]))
    batch, heads, tokens, size, causal = shape
    digits = 0 if cuda else 3
    print(f"| B {batch} H {heads} T {tokens} D {size} {'causal' if causal else 'full'} | {f:.{digits}f} / {b:.{digits}f} | "
          f"{other[0]:.{digits}f} / {other[1]:.{digits}f} | {f / other[0]:.2f} / {b / other[1]:.2f}, both {both:.2f} | "
          f"{'' if not cuda else '%.0f' % strobe(shape, args)[1]} |", flush=True)
