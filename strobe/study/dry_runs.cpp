#include "strobe/study/dry_runs.h"

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/study/sobol.h"
#include "strobe/study/words.h"

namespace strobe {

namespace {

// So many points of a space, the middle first, are tried for one that can run.
constexpr uint64_t kPointsTried = 6;

double size_at(const nlohmann::json& sizes, const char* key) {
  if (!sizes.is_object() || !sizes.contains(key)) return NAN;
  const nlohmann::json& value = sizes[key];
  return value.is_string() ? std::strtod(value.get<std::string>().c_str(), nullptr) : NAN;
}

}  // namespace

ChildResult DryRuns::of(const Words& overrides) const {
  return run_child(Words{options_.program, "train", recipe_} + overrides + options_.overrides +
                       Words{"--dry-run", "--json"},
                   /*capture=*/true, options_.stop, /*pass_errors_on=*/false);
}

RunSizes DryRuns::sizes(const Words& overrides, const std::string& what) const {
  const ChildResult checked = of(overrides);
  if (checked.status != 0 && !stopped())
    fail("study: {} cannot run: {}; nothing was started", what, checked.reason());
  const auto json = nlohmann::json::parse(checked.output, nullptr, /*allow_exceptions=*/false);
  return {size_at(json, "tokens_per_step"), size_at(json, "flops_per_step"),
          size_at(json, "planned_steps"), size_at(json, "planned_evaluation_tokens")};
}

Words DryRuns::one_that_runs(const StudyFile& study, const StudyArm& arm,
                             const std::string& what) const {
  const Space space = study.space_of(arm);
  std::vector<double> unit(space.size(), 0.5);
  std::string said;
  for (uint64_t attempt = 0; attempt < kPointsTried; ++attempt) {
    if (attempt > 0) sobol_point(attempt - 1, 0, unit);
    const Point point = point_at(space, unit);
    Words overrides = arm.overrides + overrides_of(space, point);
    const ChildResult tried = of(overrides);
    if (tried.status == 0 || stopped()) return overrides;
    if (space.empty()) fail("study: {} cannot run: {}; nothing was started", what, tried.reason());
    if (said.empty()) said = fmt::format("at {}: {}", to_string(space, point), tried.reason());
  }
  fail("study: {} cannot run at any of {} points of the space, first {}; nothing was started", what,
       kPointsTried, said);
}

}  // namespace strobe
