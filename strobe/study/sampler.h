// Samplers: which point of a space to try next. Each is a pure function of its seed, the number of
// the trial and what is known so far, so that any process can go on where another left off.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "strobe/study/space.h"

namespace strobe {

struct SamplerSpec {
  std::string name = "tpe";  // grid, random, sobol or tpe
  uint64_t seed = 0;
  int64_t startup = 10;  // tpe: points of a scrambled Sobol sequence before the first of its own
};

/// A point that was tried. Among those that ended, the order is by `level`, then by `value`, lower
/// first: one that was stopped early at a higher rung is the better one.
struct Observation {
  Point point;
  bool running = false;
  int level = 0;
  double value = 0;  // infinite for one that failed
};

/// The names of all samplers, for messages.
std::span<const std::string> sampler_names();

/// The point of trial `index` (from 0); nothing once every point of a grid, or of a space of
/// choices, integers and steps, has been tried.
std::optional<Point> propose(const Space& space, const SamplerSpec& sampler, uint64_t index,
                             std::span<const Observation> history);

bool tried(std::span<const Observation> history, const Point& point);

/// The tree-structured Parzen estimator (strobe/study/tpe.cpp).
Point propose_tpe(const Space& space, uint64_t seed, uint64_t index,
                  std::span<const Observation> history);

}  // namespace strobe
