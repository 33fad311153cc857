#!/usr/bin/env bash
# Runs every test that needs a GPU; without one says so, loudly, and succeeds. Several at a time, since most of a test is its
# reference on the CPU: a process for each test of attention, which take longest, and one for each other program.
# usage: tools/test_gpu.sh   (BUILD: the build folder; JOBS: processes, half of the cores unless given)
set -uo pipefail
export build=${BUILD:-build}
jobs=${JOBS:-$((($(nproc) + 1) / 2))}

if ! missing=$("$build/strobe" bench gemm --backend cuda --tokens 8 --channels 8 --vocab 8 2>&1 >/dev/null); then
  echo "=========================================================================="
  echo "  NOTHING WAS TESTED ON A GPU"
  echo "  ${missing#strobe: }"
  echo "=========================================================================="
  exit 0
fi

# Lines of a program and a filter.
tests_of() {
  local program names
  for program in "$build"/*_test; do
    names=$("$program" --gtest_filter='Cuda*' --gtest_list_tests | awk '/^Cuda/ {suite = $1} /^  / {print suite $1}')
    program=$(basename "$program")
    case "$program,$names" in
      *,) ;;
      cuda_attention_test,*) sed "s/^/$program /" <<< "$names" ;;
      *) echo "$program Cuda*" ;;
    esac
  done
}
run_one() {
  local log=$logs/${1}_${2//[^A-Za-z]/} begin=$SECONDS
  if "$build/$1" --gtest_filter="$2" > "$log" 2>&1 && ! grep -q '^\[==========\] 0 tests' "$log"; then
    echo "passed  $1 $2, $((SECONDS - begin)) s$(grep -o 'NOT TESTED: .*' "$log" | sort | uniq -c)"
  else
    echo "FAILED  $1 $2, $((SECONDS - begin)) s"
    cat "$log"
    touch "$logs/failed"
  fi
}
export -f run_one
logs=$(mktemp -d)
export logs
trap 'rm -rf "$logs"' EXIT
tests_of | xargs -P "$jobs" -L 1 bash -c 'run_one "$@"' run_one
if PATH=$PATH:/usr/local/cuda/bin command -v cuobjdump > /dev/null; then
  echo "== check_sass.py"
  python3 "$(dirname "$0")/check_sass.py" "$build/libstrobe_cuda.so" || touch "$logs/failed"
fi
if [ -e "$logs/failed" ]; then
  echo "GPU tests failed" >&2
  exit 1
fi
echo "all GPU tests passed"
