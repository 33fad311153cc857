#include "strobe/study/sampler.h"

#include <algorithm>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/study/sobol.h"

namespace strobe {

namespace {

const std::string kNames[] = {"grid", "random", "sobol", "tpe"};

Point random_point(const Space& space, uint64_t seed, uint64_t index) {
  std::vector<double> unit(space.size());
  for (size_t i = 0; i < unit.size(); ++i) {
    const Philox::Block block =
        random_block(seed, RandomUse::search, static_cast<uint32_t>(i), index);
    unit[i] = (static_cast<double>(block[0] >> 5) * 0x1p26 + (block[1] >> 6)) * 0x1p-53;
  }
  return point_at(space, unit);
}

Point sobol_space_point(const Space& space, uint64_t seed, uint64_t index) {
  std::vector<double> unit(space.size());
  sobol_point(index, seed, unit);
  return point_at(space, unit);
}

}  // namespace

std::span<const std::string> sampler_names() { return kNames; }

bool tried(std::span<const Observation> history, const Point& point) {
  return std::ranges::any_of(history,
                             [&](const Observation& o) { return same_point(point, o.point); });
}

std::optional<Point> propose(const Space& space, const SamplerSpec& sampler, uint64_t index,
                             std::span<const Observation> history) {
  if (sampler.name == "grid") {
    const std::vector<Point> points = grid(space);
    if (index >= points.size()) return std::nullopt;
    return points[index];
  }
  Point point;
  const bool starting = static_cast<int64_t>(index) < sampler.startup;
  if (sampler.name == "random")
    point = random_point(space, sampler.seed, index);
  else if (sampler.name == "sobol" || starting)
    point = sobol_space_point(space, sampler.seed, index);
  else
    point = propose_tpe(space, sampler.seed, index, history);
  if (!tried(history, point)) return point;
  // With the same seeds its run would be the same. Another one, if there are points to be counted.
  std::vector<Point> others = all_points(space);
  if (others.empty()) return point;
  std::erase_if(others, [&](const Point& other) { return tried(history, other); });
  if (others.empty()) return std::nullopt;
  const Philox::Block block =
      random_block(sampler.seed, RandomUse::search, static_cast<uint32_t>(space.size()), index);
  return others[block[0] % others.size()];
}

}  // namespace strobe
