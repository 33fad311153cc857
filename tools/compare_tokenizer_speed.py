"""Encodes a text with strobe and with tiktoken in turn, one thread each, GPT-2's vocabulary, and
prints both rates and whether the ids are equal.

    pip install tiktoken
    python tools/compare_tokenizer_speed.py --gpt2 DIR --text FILE [--strobe build/strobe]"""
import argparse, re, statistics, subprocess, time
import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks

parser = argparse.ArgumentParser()
parser.add_argument("--gpt2", required=True, help="folder of GPT-2's encoder.json and vocab.bpe")
parser.add_argument("--text", required=True)
parser.add_argument("--strobe", default="build/strobe")
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()

ranks = data_gym_to_mergeable_bpe_ranks(f"{args.gpt2}/vocab.bpe", f"{args.gpt2}/encoder.json")
pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
peer = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
data = open(args.text, "rb").read()
text = data.decode("utf-8", errors="replace")
strobe = [args.strobe, "tokenizer", "encode", "--tokenizer", f"gpt2:{args.gpt2}", "--text", args.text]

rates = {"strobe": [], "tiktoken": []}
for _ in range(args.rounds):
    start = time.perf_counter()
    ids = peer.encode_ordinary(text)
    rates["tiktoken"].append(len(data) / 1e6 / (time.perf_counter() - start))
    out = subprocess.run(strobe + ["--count"], capture_output=True, text=True, check=True).stdout
    rates["strobe"].append(float(re.search(r"([\d.]+) MB/s", out)[1]))
own = subprocess.run(strobe, capture_output=True, text=True, check=True).stdout
print(f"{len(data) / 1e6:.1f} MB, {len(ids)} tokens, ids equal: {list(map(int, own.split())) == ids}")
for name, values in rates.items():
    print(f"{name:9} median {statistics.median(values):7.1f} MB/s   range {min(values):.1f} to {max(values):.1f}")
print(f"ratio of medians {statistics.median(rates['strobe']) / statistics.median(rates['tiktoken']):.2f}")
