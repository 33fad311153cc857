#!/usr/bin/env bash
# Runs every test that needs a GPU; without one says so, loudly, and succeeds.
# usage: tools/test_gpu.sh   (BUILD: the build folder)
set -uo pipefail
build=${BUILD:-build}

if ! missing=$("$build/strobe" bench gemm --backend cuda --tokens 8 --channels 8 --vocab 8 2>&1 >/dev/null); then
  echo "=========================================================================="
  echo "  NOTHING WAS TESTED ON A GPU"
  echo "  ${missing#strobe: }"
  echo "=========================================================================="
  exit 0
fi

failed=()
for program in "$build"/*_test; do
  filter='Cuda*'
  [ -n "$("$program" --gtest_filter="$filter" --gtest_list_tests | grep '^  ')" ] || continue
  echo "== $(basename "$program")"
  "$program" --gtest_filter="$filter" --gtest_brief=1 || failed+=("$(basename "$program")")
done
if PATH=$PATH:/usr/local/cuda/bin command -v cuobjdump > /dev/null; then
  echo "== check_sass.py"
  python3 "$(dirname "$0")/check_sass.py" "$build/libstrobe_cuda.so" || failed+=(check_sass.py)
fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "GPU tests failed in: ${failed[*]}" >&2
  exit 1
fi
echo "all GPU tests passed"
