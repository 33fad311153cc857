"""Imports random GPT-2s that transformers wrote, exports them, and loads the exports with transformers: the same tensors bit for
bit, the same logits (to 1e-4 in f32; equal tensors give equal ones), the same ids. Whole and sharded, several shapes.

    pip install torch transformers safetensors
    python tools/check_huggingface.py --gpt2 DIR [--strobe build/strobe]     # the folder of encoder.json and vocab.bpe"""
import argparse, os, pathlib, shutil, subprocess, tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

parser = argparse.ArgumentParser()
parser.add_argument("--gpt2", required=True)
parser.add_argument("--strobe", default="build/strobe")
args = parser.parse_args()

SHAPES = [dict(n_embd=48, n_layer=3, n_head=4), dict(n_embd=64, n_layer=1, n_head=1, n_inner=100), dict(n_embd=96, n_layer=2, n_head=12)]
TEXT = "The river ran over cold stones, don't you think?\n\n  Yes, 1,024 times — naïve café 日本"


def strobe(*words):
    subprocess.run([args.strobe, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def tensors(folder):
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


for number, shape in enumerate(SHAPES):
    for shard in ("5GB", "3MB"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            torch.manual_seed(number)
            model = GPT2LMHeadModel(GPT2Config(vocab_size=50257, n_positions=64, **shape)).eval()
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(torch.randn_like(p) * 0.05)
            model.save_pretrained(folder / "hf", max_shard_size=shard)
            shutil.copy(f"{args.gpt2}/encoder.json", folder / "hf/vocab.json")
            shutil.copy(f"{args.gpt2}/vocab.bpe", folder / "hf/merges.txt")
            strobe("import", folder / "hf", "--out", folder / "run")
            strobe("export", folder / "run", "--out", folder / "out", "--shard-bytes", 0 if shard == "5GB" else 3_000_000)
            given, found = tensors(folder / "hf"), tensors(folder / "out")
            assert given.keys() == found.keys(), given.keys() ^ found.keys()
            assert all(torch.equal(given[name], found[name]) for name in given)
            tokenizer = AutoTokenizer.from_pretrained(folder / "out")
            ids = tokenizer(TEXT, return_tensors="pt").input_ids
            own = subprocess.run([args.strobe, "tokenizer", "encode", "--tokenizer", folder / "out"], input=TEXT.encode(), capture_output=True, check=True)
            assert list(map(int, own.stdout.split())) == ids[0].tolist()
            assert tokenizer.decode(ids[0]) == TEXT and tokenizer.eos_token_id == 50256
            with torch.no_grad():
                error = (AutoModelForCausalLM.from_pretrained(folder / "out").eval()(ids).logits - model(ids).logits).abs().max().item()
            assert error < 1e-4, error
            print(shape, "shards of", shard, f"{len(list((folder / 'out').glob('*.safetensors')))} files: tensors equal, logits within {error:g}")
