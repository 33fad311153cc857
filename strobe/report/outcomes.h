// The figures of a run that a study may compare: those of result.json of which less is better.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "strobe/report/run_reader.h"

namespace strobe {

struct OutcomeKind {
  const char* name;  // its key in result.json, and in the evaluations of events.jsonl
  const char* noun;  // "validation loss"
  const char* unit;  // "nats a token"; "" if it has none
  double RunResult::*of_run;
  double EvalPoint::*of_evaluation;  // null: only whole runs have it
};

std::span<const OutcomeKind> outcome_kinds();

/// The keys under which a run may have written an outcome, the first that is there counting.
std::vector<std::string> keys_of_outcome(const std::string& outcome);

/// Null if there is no such outcome.
const OutcomeKind* find_outcome(const std::string& name);

}  // namespace strobe
