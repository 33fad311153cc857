#include "strobe/report/statistics.h"

#include <cmath>

#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The continued fraction of 26.5.8, without the factor before it; converges for x < (a+1)/(a+b+2).
double beta_fraction(double a, double b, double x) {
  constexpr int kMostTerms = 10000;
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), value = d;
  for (int m = 1; m <= kMostTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d), c = away_from_zero(1 + even / c), value *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d), c = away_from_zero(1 + odd / c);
    value *= d * c;
    if (std::abs(d * c - 1) < 1e-16) break;
  }
  return value;
}

// The interval over seeds of one contrast.
template <class Contrast>
Interval over_seeds(std::span<const FactorialSeed> seeds, double level, Contrast contrast) {
  std::vector<double> values;
  for (const FactorialSeed& y : seeds) values.push_back(contrast(y));
  return t_interval(values, level);
}

}  // namespace

double mean(std::span<const double> values) {
  if (values.empty()) return kNan;
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double standard_deviation(std::span<const double> values) {
  if (values.size() < 2) return kNan;
  const double centre = mean(values);
  double squares = 0;
  for (const double v : values) squares += (v - centre) * (v - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double incomplete_beta(double a, double b, double x) {
  check(a > 0 && b > 0 && x >= 0 && x <= 1, "incomplete_beta: a, b > 0 and 0 <= x <= 1");
  if (x == 0 || x == 1) return x;
  // I_x(a, b) = 1 - I_{1-x}(b, a), on the side where the fraction converges.
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);
  const double log_factor =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  return std::exp(log_factor) * beta_fraction(a, b, x) / a;
}

double student_t_cdf(double t, double degrees_of_freedom) {
  const double x = degrees_of_freedom / (degrees_of_freedom + t * t);
  const double tail = incomplete_beta(degrees_of_freedom / 2, 0.5, x) / 2;
  return t >= 0 ? 1 - tail : tail;
}

double student_t_quantile(double p, double degrees_of_freedom) {
  check(p > 0 && p < 1 && degrees_of_freedom > 0, "student_t_quantile: 0 < p < 1 and df > 0");
  if (p > 0.5) return -student_t_quantile(1 - p, degrees_of_freedom);
  // Bisection on the lower tail, where the distribution function keeps its relative precision.
  double low = -1, high = 0;
  while (student_t_cdf(low, degrees_of_freedom) > p) low *= 2;
  for (int i = 0; i < 200 && high - low > 1e-15 * -low; ++i) {
    const double middle = (low + high) / 2;
    (student_t_cdf(middle, degrees_of_freedom) > p ? high : low) = middle;
  }
  return (low + high) / 2;
}

Interval t_interval(std::span<const double> values, double level) {
  Interval out{.estimate = mean(values), .n = static_cast<int>(values.size())};
  if (values.size() < 2) return out;
  const double n = static_cast<double>(values.size());
  const double half =
      student_t_quantile((1 + level) / 2, n - 1) * standard_deviation(values) / std::sqrt(n);
  out.low = out.estimate - half, out.high = out.estimate + half;
  return out;
}

std::vector<double> paired_differences(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "paired_differences: the two have the same length");
  std::vector<double> out(a.size());
  for (size_t i = 0; i < a.size(); ++i) out[i] = b[i] - a[i];
  return out;
}

Interval ratio_interval(std::span<const double> a, std::span<const double> b, double level) {
  check(a.size() == b.size(), "ratio_interval: the two have the same length");
  std::vector<double> logs(a.size());
  for (size_t i = 0; i < a.size(); ++i) logs[i] = std::log(b[i] / a[i]);
  const Interval log = t_interval(logs, level);
  return {std::exp(log.estimate), std::exp(log.low), std::exp(log.high), log.n};
}

double probability_of_superiority(std::span<const double> a, std::span<const double> b) {
  if (a.empty() || b.empty()) return kNan;
  double wins = 0;
  for (const double x : a)
    for (const double y : b) wins += x < y ? 1 : x == y ? 0.5 : 0;
  return wins / static_cast<double>(a.size() * b.size());
}

FactorialEffects factorial_effects(std::span<const FactorialSeed> seeds, double level) {
  const auto over = [&](auto contrast) { return over_seeds(seeds, level, contrast); };
  using Y = FactorialSeed;
  FactorialEffects out;
  out.first = over([](const Y& y) { return (y[1][0] + y[1][1] - y[0][0] - y[0][1]) / 2; });
  out.second = over([](const Y& y) { return (y[0][1] + y[1][1] - y[0][0] - y[1][0]) / 2; });
  out.interaction = over([](const Y& y) { return (y[1][1] - y[0][1]) - (y[1][0] - y[0][0]); });
  out.both = over([](const Y& y) { return y[1][1] - y[0][0]; });
  for (size_t k = 0; k < 2; ++k) {
    out.first_at[k] = over([k](const Y& y) { return y[1][k] - y[0][k]; });
    out.second_at[k] = over([k](const Y& y) { return y[k][1] - y[k][0]; });
  }
  return out;
}

}  // namespace strobe
