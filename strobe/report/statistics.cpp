#include "strobe/report/statistics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "strobe/core/correlation.h"
#include "strobe/core/error.h"
#include "strobe/core/rng.h"

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

// Of one contrast, over seeds.
template <class Contrast>
MeanInference over_seeds(std::span<const FactorialSeed> seeds, double level, Contrast contrast) {
  std::vector<double> values;
  for (const FactorialSeed& y : seeds) values.push_back(contrast(y));
  return infer_mean(values, level);
}

// Means of resamples, the same ones for the same values, and what corrects their quantiles.
struct Bootstrap {
  std::vector<double> means;
  double bias = 0, acceleration = 0;  // acceleration from the jackknife
  bool alike = false;                 // all values are the same: there is nothing to resample
  bool measurable = false;            // the spread is a number; else nothing can be said

  double share_below(double value) const {
    double below = 0;
    for (const double m : means) below += m < value ? 1 : m == value ? 0.5 : 0;
    return below / static_cast<double>(means.size());
  }

  Bootstrap(std::span<const double> values, int resamples) : means(static_cast<size_t>(resamples)) {
    const size_t n = values.size();
    const double centre = mean(values);
    measurable = std::isfinite(standard_deviation(values));
    if (!measurable) return;
    RandomSequence random(/*seed=*/1, RandomUse::sample, /*stream=*/0);
    for (double& m : means) {
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += values[random.below(n)];
      m = sum / static_cast<double>(n);
    }
    double squares = 0, cubes = 0;
    for (const double v : values) {
      const double d = (v - centre) / static_cast<double>(n - 1);
      squares += d * d, cubes += d * d * d;
    }
    const double share = share_below(centre);
    alike = squares == 0 || share <= 0 || share >= 1;
    if (!alike) acceleration = cubes / (6 * std::pow(squares, 1.5)), bias = normal_quantile(share);
  }
};

Interval no_interval(std::span<const double> values) {
  return {.estimate = mean(values), .n = static_cast<int>(values.size())};
}

Interval interval_of(const Bootstrap& b, std::span<const double> values, double level) {
  Interval out = no_interval(values);
  if (!b.measurable) return out;
  if (b.alike) {
    out.low = out.high = out.estimate;
    return out;
  }
  const auto end = [&](double p) {
    const double z = b.bias + normal_quantile(p);
    return quantile(b.means, normal_cdf(b.bias + z / (1 - b.acceleration * z)));
  };
  out.low = end((1 - level) / 2), out.high = end((1 + level) / 2);
  return out;
}

double test_of(const Bootstrap& b, std::span<const double> values) {
  if (!b.measurable) return kNan;
  if (b.alike) return mean(values) == 0 ? 1 : 0;
  // The level whose end lies at 0: interval_of()'s end(p) = 0, solved for p.
  const double least = 1 / (static_cast<double>(b.means.size()) + 1);
  const double z = normal_quantile(std::clamp(b.share_below(0), least, 1 - least)) - b.bias;
  const double scale = 1 + b.acceleration * z;
  const double p = scale > 0 ? normal_cdf(z / scale - b.bias) : 0;
  return std::max(2 * std::min(p, 1 - p), 2 * least);
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
  Interval out = no_interval(values);
  const double n = static_cast<double>(values.size()), sd = standard_deviation(values);
  if (!std::isfinite(sd)) return out;
  const double half = student_t_quantile((1 + level) / 2, n - 1) * sd / std::sqrt(n);
  out.low = out.estimate - half, out.high = out.estimate + half;
  return out;
}

Interval bootstrap_interval(std::span<const double> values, double level, int resamples) {
  return interval_of(Bootstrap(values, resamples), values, level);
}

double bootstrap_test(std::span<const double> values, int resamples) {
  return test_of(Bootstrap(values, resamples), values);
}

MeanInference infer_mean(std::span<const double> values, double level) {
  if (values.size() < kFewestForBootstrap) return {t_interval(values, level), t_test(values)};
  const Bootstrap resampled(values, kResamples);
  return {interval_of(resampled, values, level), test_of(resampled, values)};
}

double mean_test(std::span<const double> values) { return infer_mean(values).p; }

Interval mean_interval(std::span<const double> values, double level) {
  return infer_mean(values, level).interval;
}

double normal_cdf(double x) { return std::erfc(-x / std::numbers::sqrt2) / 2; }

double normal_quantile(double p) {
  check(p > 0 && p < 1, "normal_quantile: 0 < p < 1");
  if (p > 0.5) return -normal_quantile(1 - p);
  double low = -40, high = 0;
  for (int i = 0; i < 200 && high - low > 1e-15; ++i) {
    const double middle = (low + high) / 2;
    (normal_cdf(middle) > p ? high : low) = middle;
  }
  return (low + high) / 2;
}

double f_tail(double f, double numerator_df, double denominator_df) {
  if (!(f > 0)) return 1;
  return incomplete_beta(denominator_df / 2, numerator_df / 2,
                         denominator_df / (denominator_df + numerator_df * f));
}

double chi_square_cdf(double x, double degrees_of_freedom) {
  check(degrees_of_freedom > 0, "chi_square_cdf: degrees of freedom above 0");
  if (!(x > 0)) return 0;
  const double a = degrees_of_freedom / 2, z = x / 2;
  double term = 1 / a, sum = term;
  for (double k = 1; term > sum * 1e-17 && k < 1e6; ++k) sum += term *= z / (a + k);
  return std::min(1.0, sum * std::exp(a * std::log(z) - z - std::lgamma(a)));
}

double chi_square_quantile(double p, double degrees_of_freedom) {
  check(p > 0 && p < 1, "chi_square_quantile: 0 < p < 1");
  double low = 0, high = 1;
  while (chi_square_cdf(high, degrees_of_freedom) < p) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-15 * high; ++i) {
    const double middle = (low + high) / 2;
    (chi_square_cdf(middle, degrees_of_freedom) > p ? high : low) = middle;
  }
  return (low + high) / 2;
}

Interval deviation_interval(std::span<const double> values, double level) {
  Interval out{.estimate = standard_deviation(values), .n = static_cast<int>(values.size())};
  if (values.size() < 2) return out;
  const double df = static_cast<double>(values.size()) - 1;
  out.low = out.estimate * std::sqrt(df / chi_square_quantile((1 + level) / 2, df));
  out.high = out.estimate * std::sqrt(df / chi_square_quantile((1 - level) / 2, df));
  return out;
}

double t_test(std::span<const double> values) {
  const double n = static_cast<double>(values.size()), sd = standard_deviation(values);
  if (!std::isfinite(sd)) return kNan;  // of fewer than two values too
  if (sd == 0) return mean(values) == 0 ? 1 : 0;
  const double t = mean(values) / (sd / std::sqrt(n));
  return incomplete_beta((n - 1) / 2, 0.5, (n - 1) / (n - 1 + t * t));
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order;
  for (size_t i = 0; i < p.size(); ++i)
    if (!std::isnan(p[i])) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> out(p.size(), kNan);
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, static_cast<double>(order.size() - i) * p[order[i]]);
    out[order[i]] = std::min(1.0, largest);
  }
  return out;
}

double rank_correlation(std::span<const double> a, std::span<const double> b) {
  return correlation(ranks(a), ranks(b));
}

Interval rank_correlation_interval(std::span<const double> a, std::span<const double> b,
                                   double level) {
  Interval out{.estimate = rank_correlation(a, b), .n = static_cast<int>(a.size())};
  if (a.size() < 4 || !(std::abs(out.estimate) < 1)) return out;
  const double r = out.estimate, middle = std::atanh(r);
  const double half = normal_quantile((1 + level) / 2) *
                      std::sqrt((1 + r * r / 2) / (static_cast<double>(a.size()) - 3));
  out.low = std::tanh(middle - half), out.high = std::tanh(middle + half);
  return out;
}

Interval rank_correlation_difference(std::span<const double> a, std::span<const double> b,
                                     std::span<const double> c, double level, int resamples) {
  const size_t n = a.size();
  Interval out{.estimate = rank_correlation(a, c) - rank_correlation(b, c),
               .n = static_cast<int>(n)};
  if (n < 4) return out;
  RandomSequence random(/*seed=*/1, RandomUse::sample, /*stream=*/1);
  std::vector<double> found, x(n), y(n), z(n);
  for (int s = 0; s < resamples; ++s) {
    for (size_t i = 0; i < n; ++i) {
      const size_t from = random.below(n);
      x[i] = a[from], y[i] = b[from], z[i] = c[from];
    }
    if (const double d = rank_correlation(x, z) - rank_correlation(y, z); std::isfinite(d))
      found.push_back(d);
  }
  out.low = quantile(found, (1 - level) / 2), out.high = quantile(found, (1 + level) / 2);
  return out;
}

double quantile(std::vector<double> values, double p) {
  const auto missing = [](double value) { return std::isnan(value); };
  if (values.empty() || std::any_of(values.begin(), values.end(), missing)) return kNan;
  std::sort(values.begin(), values.end());
  const double at = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const double rest = at - static_cast<double>(below);
  if (rest == 0 || below + 1 >= values.size()) return values[below];
  if (std::isinf(values[below + 1])) return values[below + 1];
  return values[below] + rest * (values[below + 1] - values[below]);
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
  const auto over = [&](auto contrast) { return over_seeds(seeds, level, contrast).interval; };
  using Y = FactorialSeed;
  FactorialEffects out;
  out.first = over([](const Y& y) { return (y[1][0] + y[1][1] - y[0][0] - y[0][1]) / 2; });
  out.second = over([](const Y& y) { return (y[0][1] + y[1][1] - y[0][0] - y[1][0]) / 2; });
  out.interaction = over([](const Y& y) { return (y[1][1] - y[0][1]) - (y[1][0] - y[0][0]); });
  out.both = over_seeds(seeds, level, [](const Y& y) { return y[1][1] - y[0][0]; });
  for (size_t k = 0; k < 2; ++k) {
    out.first_at[k] = over([k](const Y& y) { return y[1][k] - y[0][k]; });
    out.second_at[k] = over([k](const Y& y) { return y[k][1] - y[k][0]; });
  }
  return out;
}

}  // namespace strobe
