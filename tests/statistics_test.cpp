// The statistics against scipy's figures in tests/data/statistics.txt, which
// tools/make_statistics_fixture.py writes, and against what they must be by their definition.
#include "strobe/report/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include "strobe/report/factorial.h"
#include "strobe/report/importance.h"
#include "strobe/report/stability.h"
#include "strobe/report/targets.h"

namespace strobe {
namespace {

struct Case {
  std::string name, text;
  std::vector<double> arguments, results;
};

// The cases of a name; the test fails if there are none.
std::vector<Case> cases(const std::string& name) {
  std::vector<Case> out;
  std::ifstream file(STROBE_SOURCE_DIR "/tests/data/statistics.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Case one;
    one.text = line;
    if (!(words >> one.name) || one.name != name) continue;
    std::string word;
    std::vector<double>* list = &one.arguments;
    while (words >> word)
      word == "=" ? void(list = &one.results) : list->push_back(std::stod(word));
    out.push_back(one);
  }
  EXPECT_FALSE(out.empty()) << "no case '" << name << "' in the fixture";
  return out;
}

// Fails on NaN, too.
void expect_close(double found, double expected, const Case& one, double tolerance = 1e-11) {
  EXPECT_TRUE(std::abs(found - expected) <= tolerance * std::max(1.0, std::abs(expected)))
      << "found " << found << ", expected " << expected << "\n  " << one.text;
}

void expect_interval(const Interval& found, const Case& one, size_t at = 0) {
  expect_close(found.estimate, one.results.at(at), one);
  expect_close(found.low, one.results.at(at + 1), one, 1e-9);
  expect_close(found.high, one.results.at(at + 2), one, 1e-9);
}

std::pair<std::vector<double>, std::vector<double>> halves(const Case& one) {
  const auto middle = one.arguments.begin() + static_cast<std::ptrdiff_t>(one.arguments.size() / 2);
  return {{one.arguments.begin(), middle}, {middle, one.arguments.end()}};
}

TEST(Statistics, IncompleteBetaIsScipys) {
  for (const Case& c : cases("beta")) {
    const double found = incomplete_beta(c.arguments[0], c.arguments[1], c.arguments[2]);
    expect_close(found, c.results[0], c);
    const double ratio = c.results[0] > 0 ? found / c.results[0] : 1;
    EXPECT_LE(std::abs(ratio - 1), 1e-9) << "relative error\n  " << c.text;
  }
}

TEST(Statistics, StudentsDistributionIsScipys) {
  for (const Case& c : cases("t_cdf"))
    expect_close(student_t_cdf(c.arguments[0], c.arguments[1]), c.results[0], c);
  for (const Case& c : cases("t_quantile"))
    expect_close(student_t_quantile(c.arguments[0], c.arguments[1]), c.results[0], c, 1e-9);
  // The value of every table: 95 %, two-sided, three runs.
  EXPECT_NEAR(student_t_quantile(0.975, 2), 4.303, 5e-4);
}

TEST(Statistics, IntervalsAreScipys) {
  for (const Case& c : cases("interval")) {
    const Interval found = t_interval(c.arguments);
    expect_interval(found, c);
    EXPECT_EQ(found.n, static_cast<int>(c.arguments.size()));
  }
  for (const Case& c : cases("sd")) expect_close(standard_deviation(c.arguments), c.results[0], c);
  for (const Case& c : cases("paired")) {
    const auto [a, b] = halves(c);
    expect_interval(t_interval(paired_differences(a, b)), c);
  }
  for (const Case& c : cases("ratio")) {
    const auto [a, b] = halves(c);
    expect_interval(ratio_interval(a, b), c);
  }
}

TEST(Statistics, SuperiorityIsMannAndWhitneys) {
  for (const Case& c : cases("superiority")) {
    const auto [a, b] = halves(c);
    expect_close(probability_of_superiority(a, b), c.results[0], c);
    expect_close(probability_of_superiority(b, a), 1 - c.results[0], c);
  }
}

TEST(Statistics, FactorialEffectsAreThoseOfTheLinearModel) {
  for (const Case& c : cases("factorial")) {
    std::vector<FactorialSeed> seeds;
    for (size_t i = 0; i < c.arguments.size(); i += 4)
      seeds.push_back(
          {{{c.arguments[i], c.arguments[i + 1]}, {c.arguments[i + 2], c.arguments[i + 3]}}});
    const FactorialEffects found = factorial_effects(seeds);
    expect_interval(found.first, c, 0);
    expect_interval(found.second, c, 3);
    expect_interval(found.interaction, c, 6);
    expect_interval(found.both.interval, c, 9);
    // The main effect is the mean of the simple ones, the interaction their difference.
    expect_close((found.first_at[0].estimate + found.first_at[1].estimate) / 2,
                 found.first.estimate, c);
    expect_close(found.second_at[1].estimate - found.second_at[0].estimate,
                 found.interaction.estimate, c);
  }
}

TEST(Statistics, NormalAndFDistributionsAreScipys) {
  for (const Case& c : cases("normal_cdf")) {
    expect_close(normal_cdf(c.arguments[0]) / c.results[0], 1, c);
  }
  for (const Case& c : cases("normal_quantile"))
    expect_close(normal_quantile(c.arguments[0]), c.results[0], c, 1e-10);
  for (const Case& c : cases("f_tail"))
    expect_close(f_tail(c.arguments[0], c.arguments[1], c.arguments[2]), c.results[0], c);
}

TEST(Statistics, TestsAndTheirCorrectionAreScipysAndStatsmodels) {
  for (const Case& c : cases("t_test")) expect_close(t_test(c.arguments), c.results[0], c);
  for (const Case& c : cases("holm")) {
    const std::vector<double> found = holm(c.arguments);
    for (size_t i = 0; i < found.size(); ++i) expect_close(found[i], c.results.at(i), c);
  }
  const std::vector<double> with_gap = holm(std::vector<double>{0.01, std::nan(""), 0.02});
  EXPECT_DOUBLE_EQ(with_gap[0], 0.02);
  EXPECT_TRUE(std::isnan(with_gap[1]));
  for (const Case& c : cases("rank")) {
    const auto [a, b] = halves(c);
    expect_close(rank_correlation(a, b), c.results[0], c);
  }
  EXPECT_TRUE(std::isnan(rank_correlation(std::vector<double>{1, 1}, std::vector<double>{1, 2})));
}

TEST(Statistics, DeviationsAndRanksHaveTheirIntervals) {
  for (const Case& c : cases("chi_square_cdf"))
    expect_close(chi_square_cdf(c.arguments[0], c.arguments[1]), c.results[0], c, 1e-10);
  for (const Case& c : cases("chi_square_quantile"))
    expect_close(chi_square_quantile(c.arguments[0], c.arguments[1]), c.results[0], c, 1e-9);
  for (const Case& c : cases("deviation")) expect_interval(deviation_interval(c.arguments), c);
  for (const Case& c : cases("rank_interval")) {
    const auto [a, b] = halves(c);
    expect_interval(rank_correlation_interval(a, b), c);
  }
  for (const Case& c : cases("rank_difference")) {
    const size_t n = c.arguments.size() / 3;
    const std::span<const double> all(c.arguments);
    const Interval found =
        rank_correlation_difference(all.first(n), all.subspan(n, n), all.last(n));
    expect_close(found.estimate, c.results[0], c);
    EXPECT_NEAR(found.low, c.results[1], 0.02) << c.text.substr(0, 40);
    EXPECT_NEAR(found.high, c.results[2], 0.02) << c.text.substr(0, 40);
  }
}

TEST(Statistics, SpikesAndBandsAreWhatPandasAndScipyFind) {
  for (const Case& c : cases("spikes"))
    EXPECT_EQ(static_cast<double>(count_spikes(c.arguments)), c.results[0]);
  for (const Case& c : cases("band")) {
    const size_t n = (c.arguments.size() - 2) / 2;
    std::vector<std::pair<double, double>> points;
    for (size_t i = n; i-- > 0;) points.emplace_back(c.arguments[2 + i], c.arguments[2 + n + i]);
    const Band found = band_of(points, c.arguments[1], c.arguments[0] == 1);
    expect_close(found.best_at, c.results[0], c);
    expect_close(found.low, c.results[1], c, 1e-10);
    expect_close(found.high, c.results[2], c, 1e-10);
    EXPECT_EQ(found.high_is_edge, c.results[2] == points.front().first);
  }
  const double never = std::numeric_limits<double>::infinity();
  const Band cut = band_of({{1, 5}, {2, 4.99}, {4, never}}, 0.05, true);
  EXPECT_EQ(cut.high, 2) << "nothing is known of the way to a run that diverged";
  EXPECT_FALSE(cut.high_is_edge);
  EXPECT_TRUE(cut.low_is_edge);
  EXPECT_TRUE(std::isnan(band_of({{1, 5}, {2, 4.99}}, 0.05, true).low));
  EXPECT_EQ(number_of_label("x0.25"), 0.25);
  EXPECT_TRUE(std::isnan(number_of_label("cosine")));
  std::vector<double> losses(60, 3.0);
  losses[55] = never;
  EXPECT_EQ(count_spikes(losses), 1u);
}

// A step in which nothing was scored has no loss, and is no spike; a norm that is no number is one.
TEST(Statistics, AStepWithoutALossIsNoSpike) {
  RunRecord run;
  run.training.resize(60);
  for (TrainPoint& point : run.training) point.loss = 3, point.grad_norm = 1;
  run.training[20].loss = run.training[55].loss = NAN;
  run.training[56].grad_norm = NAN;
  const RunStability found = run_stability(run);
  EXPECT_EQ(found.loss_spikes, 0);
  EXPECT_EQ(found.norm_spikes, 1);
}

TEST(Statistics, SayNothingOfWhatIsNoNumber) {
  const std::vector<double> one = {3, 1, 2, NAN, 5}, other = {1, 2, 3, 4, 5};
  EXPECT_TRUE(std::isnan(rank_correlation(one, other)));
  EXPECT_TRUE(std::isnan(rank_correlation(other, one)));
  EXPECT_TRUE(std::isnan(rank_correlation_interval(one, other).low));
  for (const double bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<double> values = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, bad};
    const MeanInference many = infer_mean(values);
    EXPECT_TRUE(std::isnan(many.interval.low) && std::isnan(many.interval.high)) << bad;
    EXPECT_TRUE(std::isnan(many.p)) << bad;
    EXPECT_EQ(many.interval.n, 12);
    EXPECT_TRUE(std::isnan(bootstrap_interval(values).low)) << bad;
    values.erase(values.begin(), values.begin() + 7);
    EXPECT_TRUE(std::isnan(mean_interval(values).low)) << bad;
    EXPECT_TRUE(std::isnan(mean_interval(values).high)) << bad;
  }
}

TEST(Statistics, BootstrapIsScipysWithinItsNoise) {
  for (const Case& c : cases("bootstrap")) {
    const Interval found = bootstrap_interval(c.arguments);
    const double width = c.results[2] - c.results[1];
    expect_close(found.estimate, c.results[0], c);
    EXPECT_NEAR(found.low, c.results[1], 0.03 * width) << c.text;
    EXPECT_NEAR(found.high, c.results[2], 0.03 * width) << c.text;
    EXPECT_EQ(mean_interval(c.arguments).low, found.low) << "the same every time";
    EXPECT_EQ(infer_mean(c.arguments).interval.high, found.high);
    EXPECT_EQ(infer_mean(c.arguments).p, bootstrap_test(c.arguments));
  }
  const std::vector<double> few = {1, 2, 4};
  EXPECT_EQ(mean_interval(few).low, t_interval(few).low);
  EXPECT_EQ(bootstrap_interval(std::vector<double>(12, 3.0)).low, 3);
}

TEST(Statistics, AnalysisOfVarianceIsStatsmodels) {
  for (const Case& c : cases("anova")) {
    FactorialData data;
    size_t at = 0;
    const auto next = [&] { return static_cast<size_t>(c.arguments.at(at++)); };
    const size_t factors = next();
    for (size_t f = 0; f < factors; ++f) {
      data.factors.push_back(std::to_string(f));
      data.levels.push_back({});
      for (size_t l = next(); l-- > 0;) data.levels.back().push_back(std::to_string(l));
    }
    data.values.resize(next(), std::vector<double>(data.cells()));
    for (size_t cell = 0; cell < data.cells(); ++cell)
      for (auto& seed : data.values) seed[cell] = c.arguments.at(at++);
    const std::vector<VarianceTest> found = analysis_of_variance(data);
    ASSERT_EQ(found.size() * 4, c.results.size());
    for (size_t i = 0; i < found.size(); ++i) {
      expect_close(found[i].f, c.results[4 * i], c, 1e-8);
      EXPECT_EQ(found[i].numerator_df, c.results[4 * i + 1]);
      EXPECT_EQ(found[i].denominator_df, c.results[4 * i + 2]);
      expect_close(found[i].p, c.results[4 * i + 3], c, 1e-8);
    }
  }
}

TEST(Statistics, ContrastsOfALargerFactorialAreThoseOfItsCells) {
  // y = 1 (b1) + 3 (b2) + 2 (a1) + 5 (a1 b2), the same for both seeds but for a shift.
  FactorialData data{{"a", "b"}, {{"a0", "a1"}, {"b0", "b1", "b2"}}, {}};
  for (const double shift : {0.0, 0.5})
    data.values.push_back({shift, 1 + shift, 3 + shift, 2 + shift, 3 + shift, 10 + shift});
  const std::vector<FactorialContrast> found = factorial_contrasts(data);
  ASSERT_EQ(found.size(), 5u);
  EXPECT_NEAR(found[0].effect.estimate, 2 + 5.0 / 3, 1e-12);
  EXPECT_EQ(found[0].name, "a: a1 − a0");
  EXPECT_NEAR(found[1].effect.estimate, 1, 1e-12);
  EXPECT_NEAR(found[2].effect.estimate, 3 + 2.5, 1e-12);
  EXPECT_NEAR(found[3].effect.estimate, 0, 1e-12);
  EXPECT_NEAR(found[4].effect.estimate, 5, 1e-12);
  EXPECT_TRUE(found[4].interaction);
}

TEST(Statistics, RoundingIsNoEffect) {
  // The logarithm of 654 steps in every cell: a sum over the cells need not be exactly zero.
  FactorialData data{{"dropout", "decay"}, {{"0", "0.1", "0.2"}, {"0", "0.1", "0.5", "1"}}, {}};
  data.values.assign(2, std::vector<double>(data.cells(), std::log(654.0)));
  for (const FactorialContrast& c : factorial_contrasts(data)) {
    EXPECT_EQ(c.effect.estimate, 0) << c.name;
    EXPECT_EQ(c.p, 1) << c.name;
  }
}

TEST(Statistics, ImportanceIsOptunas) {
  for (const Case& c : cases("importance")) {
    size_t at = 0;
    const auto next = [&] { return c.arguments.at(at++); };
    const auto count = static_cast<size_t>(next()), trials = static_cast<size_t>(next());
    std::vector<ImportanceInput> parameters(count);
    for (ImportanceInput& p : parameters) {
      p.low = next(), p.high = next(), p.step = next(), p.log = next() != 0;
      p.integer = next() != 0, p.choices = static_cast<size_t>(next());
      for (size_t i = 0; i < trials; ++i) p.values.push_back(next());
    }
    std::vector<double> outcomes;
    for (size_t i = 0; i < trials; ++i) outcomes.push_back(next());
    const std::vector<double> found = importance(parameters, outcomes);
    for (size_t i = 0; i < count; ++i) expect_close(found[i], c.results.at(i), c, 1e-6);
  }
}

TEST(Statistics, ProfilesCountMissesAsInfinite) {
  const double never = std::numeric_limits<double>::infinity();
  const Profile found = performance_profile({{1, 4, never, never}, {2, 2, 3, never}});
  EXPECT_EQ(found.instances, 3u) << "one that no arm does says nothing";
  EXPECT_EQ(found.tau, (std::vector<double>{1, 2}));
  EXPECT_EQ(found.share[0], (std::vector<double>{1.0 / 3, 2.0 / 3}));
  EXPECT_EQ(found.share[1], (std::vector<double>{2.0 / 3, 1}));
  EXPECT_NEAR(found.score[0], (1.0 / 3 + 2 * 2.0 / 3) / 3, 1e-12);
  EXPECT_NEAR(found.score[1], (2.0 / 3 + 2) / 3, 1e-12);
  EXPECT_TRUE(std::isinf(quantile({1, never, never}, 0.5)));
  EXPECT_TRUE(std::isnan(quantile({1, 2, std::nan("")}, 0.5)));
}

TEST(Statistics, AParetoFrontIsWhatNothingBeats) {
  const std::vector<double> x = {3, 1, 2, 2, 5, std::nan("")}, y = {1, 4, 2, 3, 0.5, 0};
  EXPECT_EQ(pareto_front(x, y), (std::vector<size_t>{1, 2, 0, 4}));
}

TEST(Statistics, UnresolvedWithoutAnIntervalOrWhenItCoversTheNull) {
  EXPECT_FALSE(t_interval(std::vector<double>{-0.5}).resolved());
  EXPECT_FALSE(t_interval({}).resolved());
  EXPECT_TRUE(std::isnan(t_interval({}).estimate));
  EXPECT_FALSE(t_interval(std::vector<double>{-0.1, 0.1, 0.2}).resolved());
  EXPECT_TRUE(t_interval(std::vector<double>{0.1, 0.11, 0.12}).resolved());
  EXPECT_TRUE(t_interval(std::vector<double>{-0.1, -0.11, -0.12}).resolved());
  EXPECT_FALSE(t_interval(std::vector<double>{0.1, 0.1, std::nan("")}).resolved());
  for (const size_t n : {3u, 12u}) {
    std::vector<double> values(n, 0.1);
    values[1] = std::nan("");
    EXPECT_FALSE(mean_interval(values).resolved());
    EXPECT_TRUE(std::isnan(mean_test(values)));
  }
  const std::vector<double> one = {1, 1, 1}, two = {2.0, 2.1, 1.9}, near = {1.02, 0.98, 1.01};
  EXPECT_TRUE(ratio_interval(one, two).resolved(1));
  EXPECT_FALSE(ratio_interval(one, near).resolved(1));
}

}  // namespace
}  // namespace strobe
