"""Encodes a text with strobe and with a peer in turn, one thread each, and prints both rates and whether the ids are equal.
GPT-2's vocabulary is compared with tiktoken, BERT's with Hugging Face's tokenizers, line by line, which its own batches take.

    pip install tiktoken tokenizers numpy
    python tools/compare_tokenizer_speed.py --tokenizer gpt2:DIR|bert:DIR --text FILE [--strobe build/strobe]"""
import argparse, os, re, statistics, subprocess, time
import numpy

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def tiktoken_peer(folder):
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    ranks = data_gym_to_mergeable_bpe_ranks(f"{folder}/vocab.bpe", f"{folder}/encoder.json")
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    peer = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
    return "tiktoken", lambda text: [text], lambda texts: map(peer.encode_ordinary, texts)


def tokenizers_peer(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    peer = Tokenizer(models.WordPiece.from_file(f"{folder}/vocab.txt", unk_token="[UNK]"))
    peer.normalizer, peer.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    batch = 10_000  # lines

    def encode(lines):
        for i in range(0, len(lines), batch):
            yield from (encoding.ids for encoding in peer.encode_batch_fast(lines[i : i + batch], add_special_tokens=False))

    return "tokenizers", lambda text: text.split("\n"), encode


parser = argparse.ArgumentParser()
parser.add_argument("--tokenizer", required=True, help="gpt2:DIR (encoder.json, vocab.bpe) or bert:DIR (vocab.txt)")
parser.add_argument("--text", required=True)
parser.add_argument("--strobe", default="build/strobe")
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()

kind, folder = args.tokenizer.split(":", 1)
name, prepare, encode = {"gpt2": tiktoken_peer, "bert": tokenizers_peer}[kind](folder)
data = open(args.text, "rb").read()
texts = prepare(data.decode("utf-8", errors="replace"))
strobe = [args.strobe, "tokenizer", "encode", "--tokenizer", args.tokenizer, "--text", args.text]

rates = {"strobe": [], name: []}
for _ in range(args.rounds):
    seconds, found = 0.0, []
    results = encode(texts)
    while True:  # the ids' way into numpy is not timed
        start = time.perf_counter()
        ids = next(results, None)
        seconds += time.perf_counter() - start
        if ids is None:
            break
        found.append(numpy.array(ids, numpy.int32))
    rates[name].append(len(data) / 1e6 / seconds)
    out = subprocess.run(strobe + ["--count"], capture_output=True, text=True, check=True).stdout
    rates["strobe"].append(float(re.search(r"([\d.]+) MB/s", out)[1]))
peer_ids = numpy.concatenate(found)
own = subprocess.run(strobe, capture_output=True, check=True).stdout
own_ids = numpy.fromstring(own, numpy.int32, sep=" ")
print(f"{len(data) / 1e6:.1f} MB, {len(peer_ids)} tokens, ids equal: {numpy.array_equal(own_ids, peer_ids)}")
for who, values in rates.items():
    print(f"{who:10} median {statistics.median(values):7.1f} MB/s   range {min(values):.1f} to {max(values):.1f}")
print(f"ratio of medians {statistics.median(rates['strobe']) / statistics.median(rates[name]):.2f}")
