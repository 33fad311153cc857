// strobe study ask: the samplers for anything that has a value, through pipes.
#include <algorithm>
#include <charconv>
#include <iostream>
#include <limits>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/json_text.h"
#include "strobe/study/sampler.h"
#include "strobe/study/study_file.h"

namespace strobe {

namespace {

constexpr int64_t kNoSeed = std::numeric_limits<int64_t>::min();

std::string json_of(const Space& space, const Point& point) {
  std::string out;
  for (size_t i = 0; i < space.size(); ++i) {
    if (!present(point[i])) continue;
    const std::string value =
        space[i].is_choice() ? json_quote(value_text(space[i], point[i])) : json_number(point[i]);
    out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", json_quote(space[i].name), value);
  }
  return "{" + out + "}";
}

int ask(const std::string& file, int64_t seed) {
  StudyFile study = read_space(file);
  if (seed < 0 && seed != kNoSeed) fail("study ask: --seed is {}; it takes 0 or more", seed);
  if (seed >= 0) study.sampler.seed = static_cast<uint64_t>(seed);
  std::vector<Observation> history;
  std::string line;
  for (uint64_t index = 0;; ++index) {
    const std::optional<Point> point = propose(study.space, study.sampler, index, history);
    if (!point) return 0;
    fmt::print("{}\n", json_of(study.space, *point));
    std::fflush(stdout);
    if (!std::getline(std::cin, line)) return 0;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
    double value = std::numeric_limits<double>::infinity();
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (line != "failed" && (error != std::errc() || end != line.data() + line.size()))
      fail("study ask: '{}' is not a value; it takes a number (lower is better) or 'failed'", line);
    history.push_back({*point, false, 0, std::isnan(value) ? INFINITY : value});
  }
}

}  // namespace

Verb verb_study_ask() {
  return {"study ask", "Search anything: print points to try, read what they gave, line by line",
          "strobe study ask space.toml --seed 1", [](Options& options) {
            struct Values {
              std::string file;
              int64_t seed = kNoSeed;
            };
            auto v = std::make_shared<Values>();
            options.value(v->file, "file", "TOML file with [space] and [sampler]",
                          Options::required);
            options.value(v->seed, "--seed", "instead of sampler.seed");
            return [v] { return ask(v->file, v->seed); };
          }};
}

}  // namespace strobe
