// Searches with a script in the place of the program that trains.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/study/trial_store.h"
#include "tests/reference/study_program.h"

namespace strobe::reference {

// Trains by writing what it came to: the validation loss is 5 + |log10(lr / 3e-3)|, a little better
// with seed 101. Crashes above @crash, diverges below @diverge. With @slow it evaluates every tenth
// of the run, and stops when it is asked to.
constexpr const char* kProgram = R"(#!/bin/bash
echo "$@" >> @log
case "$1" in
  bench) echo '{"step_ms": 100, "tokens_per_second": 1000}'; exit 0 ;;
  resume) run=$2; lr=$(cat $run/lr); seed=1 ;;
  *)
    recipe=$2
    while [ $# -gt 0 ]; do
      case "$1" in
        --run) run=$2 ;;
        seed=*) seed=${1#seed=} ;;
        optimizer.lr=*) lr=${1#optimizer.lr=} ;;
        train.tokens=*) tokens=${1#train.tokens=} ;;
        --dry-run) echo '{"tokens_per_step": "100", "flops_per_step": "1e6"}'; exit 0 ;;
      esac
      shift
    done ;;
esac
mkdir -p $run
[ -z "$recipe" ] || cp $recipe $run/config.toml
echo "$lr" > $run/lr
finish() {
  echo "{\"state\": \"$1\", \"@metric\": $2, \"tokens\": ${tokens:-900}, \"seconds\": 2, \"steps\": 9, \"flops\": 1e9}" > $run/result.json
  exit $3
}
read -r loss crash diverge <<< $(awk -v lr=${lr:-1e-2} -v seed=$seed -v c=@crash -v d=@diverge 'BEGIN {
  x = log(lr / 3e-3) / log(10); if (x < 0) x = -x
  print 5 + x - (seed == 101) * 0.01, (lr > c), (lr < d) }')
if [ $crash = 1 ]; then echo "warming up" >&2; echo "strobe: @said" >&2; exit 3; fi
[ $diverge = 1 ] && finish diverged null 1
if [ -n "@slow" ]; then
  trap 'finish stopped null 130' TERM
  for i in 1 2 3 4 5 6 7 8 9 10; do
    echo "{\"step\": $i, \"tokens\": $((i * ${tokens:-900} / 10)), \"seconds\": 1, \"done\": ${i}e-1, \"val/loss\": $loss}" >> $run/events.jsonl
    sleep 0.1
  done
fi
mkdir -p $run/checkpoints; touch $run/checkpoints/step_1
finish finished $loss 0
)";

class SearchTest : public StudyTest {
 protected:
  SearchTest() : StudyTest("tokens = 5000") { write_program(); }

  void write_program(const std::map<std::string, std::string>& words = {}) {
    std::map<std::string, std::string> all = {{"crash", "1"},
                                              {"diverge", "0"},
                                              {"slow", ""},
                                              {"said", "train: out of memory"},
                                              {"metric", "val/loss"}};
    for (const auto& [word, value] : words) all[word] = value;
    StudyTest::write_program(kProgram, all);
  }
  std::vector<Trial> trials() {
    TrialStore store(out_ + "/journal.log", "test", "reader");
    return store.refresh().trials();
  }
  size_t count(TrialState state, const std::string& phase) {
    size_t out = 0;
    for (const Trial& trial : trials()) out += trial.state == state && trial.attr("phase") == phase;
    return out;
  }
  void expect_refused(const std::string& body, const std::string& part) {
    StudyTest::expect_refused("seeds = [1]\n" + body, part);
  }

  const std::string kSearch =
      "seeds = [1]\n[budget]\ntokens = 900\ntrials = 8\n[space]\n"
      "\"optimizer.lr\" = { log = [1e-4, 1e-1] }\n[confirm]\nseeds = [101, 102]\n[sampler]\n"
      "startup = 4\n";
};

}  // namespace strobe::reference
