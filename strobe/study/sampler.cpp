#include "strobe/study/sampler.h"

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

std::optional<Point> propose(const Space& space, const SamplerSpec& sampler, uint64_t index,
                             std::span<const Observation> history) {
  if (sampler.name == "grid") {
    const std::vector<Point> points = grid(space);
    if (index >= points.size()) return std::nullopt;
    return points[index];
  }
  if (sampler.name == "random") return random_point(space, sampler.seed, index);
  const bool starting = static_cast<int64_t>(index) < sampler.startup;
  if (sampler.name == "sobol" || starting) return sobol_space_point(space, sampler.seed, index);
  return propose_tpe(space, sampler.seed, index, history);
}

}  // namespace strobe
