// The tree-structured Parzen estimator: J. Bergstra et al., "Algorithms for hyper-parameter
// optimization", NeurIPS 2011, in its multivariate form (S. Falkner et al., BOHB, ICML 2018; S.
// Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components", 2023).
//
// What was tried is split into the better few, D_l, and the rest, D_g. A mixture of product kernels
// about the points of each gives densities l and g; of some candidates drawn from l the one with
// the greatest l / g is tried. Points of D_l weigh by how much better they are than the best of
// D_g: the improvement whose expectation the criterion stands for ("EI weights" of the survey).
// Trials that still run count as bad ones (the "constant liar" of D. Ginsbourger et al., 2010), so
// that workers side by side do not all try the same.
//
// Parameters that depend on a choice form groups: those with the same condition are drawn
// together, from the trials that had them, once the choice is made.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "strobe/core/rng.h"
#include "strobe/study/sampler.h"

namespace strobe {

namespace {

constexpr int kCandidates = 96;
constexpr double kBest = 0.15;  // share of the trials that counts as good
constexpr size_t kMostBest = 25;
constexpr size_t kFullWeight = 25;  // as many of the newest trials count in full
constexpr double kPriorWeight = 1;
constexpr int kRedraws = 50;           // of a point that has been tried
constexpr double kWideDimensions = 6;  // from which on kernels are no narrower than 1 / (n + 2)

struct Random {
  RandomSequence sequence;
  double uniform() {
    const uint32_t high = sequence.next() >> 5, low = sequence.next() >> 6;
    return (static_cast<double>(high) * 0x1p26 + low) * 0x1p-53;
  }
  double normal() {
    const double u = 1 - uniform(), v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }
};

double normal_cdf(double x) { return std::erfc(-x / std::numbers::sqrt2) / 2; }

// Of a value that is not certain to be above 0.
double log_of(double x) { return std::log(std::max(x, 1e-300)); }

// The density of one parameter about one point: a normal truncated to the range, in unit scale, or
// for steps its mass over the step's cell; a choice has a categorical distribution.
class Kernel {
 public:
  Kernel(const Parameter& p, double centre, double width) : p_(&p), centre_(centre), width_(width) {
    mass_ = normal_cdf((1 - centre) / width) - normal_cdf(-centre / width);
  }
  // `weight` of a choice that is spread over all labels.
  static Kernel of_choice(const Parameter& p, double label, double spread) {
    return Kernel(p, label, spread, {});
  }

  double draw(Random& random) const {
    if (p_->is_choice()) {
      if (random.uniform() < spread_ || !present(centre_))
        return std::floor(random.uniform() * p_->size());
      return centre_;
    }
    double unit = -1;
    while (unit < 0 || unit >= 1) unit = centre_ + width_ * random.normal();
    return from_unit(*p_, unit);
  }

  double log_density(double value) const {
    if (p_->is_choice()) {
      const double even = 1 / p_->size();
      if (!present(centre_)) return std::log(even);
      return std::log(spread_ * even + (value == centre_ ? 1 - spread_ : 0));
    }
    if (p_->step > 0) {
      const double low = to_unit(*p_, value - p_->step / 2),
                   high = to_unit(*p_, value + p_->step / 2);
      return log_of((normal_cdf((high - centre_) / width_) - normal_cdf((low - centre_) / width_)) /
                    mass_);
    }
    const double z = (to_unit(*p_, value) - centre_) / width_;
    return -z * z / 2 - std::log(width_ * std::sqrt(2 * std::numbers::pi) * mass_);
  }

 private:
  struct OfChoice {};
  Kernel(const Parameter& p, double label, double spread, OfChoice)
      : p_(&p), centre_(label), spread_(spread) {}

  const Parameter* p_;
  double centre_, width_ = 1, mass_ = 1, spread_ = 0;
};

using Group = std::vector<size_t>;  // indices of parameters

// A mixture over points: one product of kernels a point, and one flat product, the prior.
class Mixture {
 public:
  /// `gains`: weights of the points; empty: by age.
  Mixture(const Space& space, const Group& group, const std::vector<const Observation*>& points,
          const std::vector<double>& gains = {})
      : group_(group), kernels_(points.size() + 1) {
    for (const size_t i : group) mixed_ = mixed_ || space[i].is_choice() || space[i].step > 0;
    for (const size_t i : group) add(space[i], i, points);
    const size_t n = points.size();
    for (size_t k = 0; k < n; ++k) {
      // The oldest count least: from 1/n to 1 for all but the newest.
      const size_t ramp = n > kFullWeight ? n - kFullWeight : 0;
      const double share = ramp > 1 ? static_cast<double>(k) / static_cast<double>(ramp - 1) : 1;
      const double least = 1 / static_cast<double>(n);
      const double by_age = k < ramp ? least + (1 - least) * share : 1;
      weights_.push_back(gains.empty() ? by_age : gains[k]);
    }
    weights_.push_back(kPriorWeight);
    for (const double w : weights_) total_ += w;
  }

  void draw(Random& random, Point& point) const {
    double at = random.uniform() * total_;
    size_t k = 0;
    while (k + 1 < weights_.size() && at >= weights_[k]) at -= weights_[k++];
    for (size_t d = 0; d < group_.size(); ++d) point[group_[d]] = kernels_[k][d].draw(random);
  }

  double log_density(const Point& point) const {
    std::vector<double> logs(kernels_.size());
    double most = -std::numeric_limits<double>::infinity();
    for (size_t k = 0; k < kernels_.size(); ++k) {
      logs[k] = std::log(weights_[k] / total_);
      for (size_t d = 0; d < group_.size(); ++d)
        logs[k] += kernels_[k][d].log_density(point[group_[d]]);
      most = std::max(most, logs[k]);
    }
    double sum = 0;
    for (const double l : logs) sum += std::exp(l - most);
    return most + std::log(sum);
  }

 private:
  void add(const Parameter& p, size_t i, const std::vector<const Observation*>& points) {
    const size_t n = points.size();
    if (p.is_choice()) {
      // One more observation of each label is shared by the kernels.
      const double spread = p.size() / (p.size() + static_cast<double>(n) + 1);
      for (size_t k = 0; k < n; ++k)
        kernels_[k].push_back(Kernel::of_choice(p, points[k]->point[i], spread));
      kernels_[n].push_back(Kernel::of_choice(p, NAN, 1));
      return;
    }
    std::vector<double> centres, sorted = {0, 1};
    for (const Observation* o : points) centres.push_back(to_unit(p, o->point[i]));
    sorted.insert(sorted.end(), centres.begin(), centres.end());
    std::sort(sorted.begin(), sorted.end());
    // Points of few continuous dimensions lie close together: their kernels may be narrower.
    const double narrow =
        mixed_ ? 1 : std::min(1.0, static_cast<double>(group_.size()) / kWideDimensions);
    const double cell = p.step > 0 ? p.step / (p.high - p.low + p.step) : 0;
    const double least = std::max(cell, narrow / std::min(100.0, static_cast<double>(n) + 2));
    for (size_t k = 0; k < n; ++k) {
      // As wide as the farther of its neighbours is away; the ends of the range are neighbours
      // only of a point that is alone.
      const auto at = std::lower_bound(sorted.begin() + 1, sorted.end() - 1, centres[k]);
      const bool first = at == sorted.begin() + 1, last = at + 2 == sorted.end();
      const double left = first && n > 1 ? 0 : centres[k] - *(at - 1);
      const double right = last && n > 1 ? 0 : *(at + 1) - centres[k];
      kernels_[k].emplace_back(p, centres[k], std::clamp(std::max(left, right), least, 1.0));
    }
    kernels_[n].emplace_back(p, 0.5, 1.0);
  }

  Group group_;
  std::vector<std::vector<Kernel>> kernels_;
  std::vector<double> weights_;
  double total_ = 0;
  bool mixed_ = false;  // with choices or steps
};

bool better(const Observation* a, const Observation* b) {
  if (a->running != b->running) return b->running;
  return a->level != b->level ? a->level > b->level : a->value < b->value;
}

// By how much each of `best` is better than `next`, the best of the others; 1 on average. Nothing
// where that is no number: values of different rungs, or of trials that failed or still run.
std::vector<double> gains_over(const Observation* next,
                               const std::vector<const Observation*>& best) {
  std::vector<double> out;
  double sum = 0;
  for (const Observation* o : best) {
    if (next->running || o->running || o->level != next->level || !std::isfinite(next->value) ||
        !std::isfinite(o->value))
      return {};
    out.push_back(next->value - o->value), sum += out.back();
  }
  if (!(sum > 0)) return {};
  for (double& gain : out) gain *= static_cast<double>(out.size()) / sum;
  return out;
}

// Sets the parameters of one group.
void draw_group(const Space& space, const Group& group, std::span<const Observation> history,
                Random& random, Point& point) {
  std::vector<const Observation*> order;
  size_t ended = 0;
  for (const Observation& o : history)
    if (present(o.point[group[0]])) order.push_back(&o), ended += !o.running;
  const auto good = std::min(
      {kMostBest, ended, static_cast<size_t>(std::ceil(kBest * static_cast<double>(ended)))});
  std::stable_sort(order.begin(), order.end(), better);
  std::vector<const Observation*> best(order.begin(), order.begin() + static_cast<long>(good));
  std::vector<const Observation*> rest(order.begin() + static_cast<long>(good), order.end());
  const Observation* next = rest.empty() ? nullptr : rest[0];
  const auto by_age = [](const Observation* a, const Observation* b) { return a < b; };
  std::sort(best.begin(), best.end(), by_age), std::sort(rest.begin(), rest.end(), by_age);
  const std::vector<double> gains = next ? gains_over(next, best) : std::vector<double>();
  const Mixture l(space, group, best, gains), g(space, group, rest);
  double greatest = -std::numeric_limits<double>::infinity();
  Point chosen = point;
  for (int c = 0; c < kCandidates; ++c) {
    Point candidate = point;
    l.draw(random, candidate);
    const double gain = l.log_density(candidate) - g.log_density(candidate);
    if (gain > greatest) greatest = gain, chosen = candidate;
  }
  point = chosen;
}

Point draw_point(const Space& space, std::span<const Observation> history, Random& random) {
  Point point(space.size(), std::numeric_limits<double>::quiet_NaN());
  std::vector<bool> done(space.size(), false);
  for (size_t i = 0; i < space.size(); ++i) {
    if (done[i] || !active(space, point, i)) continue;
    Group group;
    for (size_t j = i; j < space.size(); ++j)
      if (space[j].when == space[i].when && space[j].when_labels == space[i].when_labels)
        group.push_back(j), done[j] = true;
    draw_group(space, group, history, random, point);
  }
  return point;
}

}  // namespace

Point propose_tpe(const Space& space, uint64_t seed, uint64_t index,
                  std::span<const Observation> history) {
  Random random{RandomSequence(seed, RandomUse::search, static_cast<uint32_t>(index) | 1u << 30)};
  // Of choices and steps alone, a good point comes up again; with the same seeds its run would too.
  Point point = draw_point(space, history, random);
  for (int again = 0; again < kRedraws && tried(history, point); ++again) {
    std::vector<double> unit(space.size());
    for (double& u : unit) u = random.uniform();
    point = 2 * again < kRedraws ? draw_point(space, history, random) : point_at(space, unit);
  }
  return point;
}

}  // namespace strobe
