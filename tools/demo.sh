#!/usr/bin/env bash
# The demo: Wikipedia text, a tokenizer, twelve training runs, a report. Called by `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
strobe=build/strobe text=build/demo-text data=build/demo-data runs=runs/demo

[ -f $text/train.txt ] || build/venv/bin/python tools/demo_text.py --out $text
[ -f $data/dataset.json ] || $strobe data prepare --corpus demo --from $text --tokenizer train:2048 --out $data
$strobe study run studies/demo.toml --out $runs

echo
echo "A sample of what seconds of training write (not a measure of anything):"
$strobe generate $runs/runs/flash2-optimised-s1 --prompt "The" --max-new-tokens 60 --temperature 0.8 --top-k 40
echo
echo "report: $(pwd)/$runs/report.html"
echo "To start over: rm -r $runs"
