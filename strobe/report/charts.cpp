#include "strobe/report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "strobe/core/json_text.h"
#include "strobe/report/plots.h"
#include "strobe/report/statistics.h"

namespace strobe {

namespace {

// One line of a panel, before thinning.
struct Curve {
  std::vector<double> steps, tokens, seconds, values;
};

// A panel: its name in the page, its title, and how it takes a curve from a run.
struct Panel {
  const char *id, *title, *unit;
  bool means_only;  // runs of a group are alike by construction
  bool banded;      // the mean with its interval
  Curve (*take)(const RunRecord& run);
};

template <class Point>
Curve take(const std::vector<Point>& points, double Point::*value) {
  Curve out;
  for (const Point& p : points) {
    if (std::isnan(p.*value)) continue;
    out.steps.push_back(p.step), out.tokens.push_back(p.tokens), out.seconds.push_back(p.seconds);
    out.values.push_back(p.*value);
  }
  return out;
}

constexpr const char* kNatsAToken = "nats a token";

const Panel kPanels[] = {
    {"validation", "Validation loss", kNatsAToken, false, true,
     [](const RunRecord& run) { return take(run.evaluations, &EvalPoint::loss); }},
    {"error", "Validation error", "1 minus the mean of the metrics", false, true,
     [](const RunRecord& run) { return take(run.evaluations, &EvalPoint::error); }},
    {"training", "Training loss", kNatsAToken, false, false,
     [](const RunRecord& run) { return take(run.training, &TrainPoint::loss); }},
    {"lr", "Learning rate", "", true, false,
     [](const RunRecord& run) { return take(run.training, &TrainPoint::lr); }},
    {"norm", "Gradient norm", "", false, false,
     [](const RunRecord& run) { return take(run.training, &TrainPoint::grad_norm); }},
    {"speed", "Tokens a second", "", false, false,
     [](const RunRecord& run) { return take(run.training, &TrainPoint::tokens_per_second); }},
};

// Six digits are more than a screen shows.
std::string numbers(const std::vector<double>& values, const std::vector<size_t>& chosen) {
  std::string out = "[";
  for (const size_t i : chosen)
    out += (out.size() > 1 ? "," : "") +
           (std::isfinite(values[i]) ? fmt::format("{:.6g}", values[i]) : std::string("null"));
  return out + "]";
}

// 95 % intervals of the mean at each of its points; empty where there are none.
struct Band {
  std::vector<double> low, high;
};

std::string line_json(const Curve& curve, size_t group, const std::string& name, const char* kind,
                      const Band& band = {}) {
  const std::vector<size_t> chosen = thin(curve.values);
  const std::string around = band.low.empty()
                                 ? ""
                                 : fmt::format(R"(,"low":{},"high":{})", numbers(band.low, chosen),
                                               numbers(band.high, chosen));
  return fmt::format(
      R"({{"group":{},"name":{},"kind":"{}","steps":{},"tokens":{},"seconds":{},"y":{}{}}})", group,
      json_quote(name), kind, numbers(curve.steps, chosen), numbers(curve.tokens, chosen),
      numbers(curve.seconds, chosen), numbers(curve.values, chosen), around);
}

// Over the runs of a group, at the steps of their mean.
Band band_of(const ChartGroup& group, const Curve& mean, const Panel& panel) {
  std::map<double, std::vector<double>> values;
  for (const RunRecord* run : group.runs) {
    const Curve curve = panel.take(*run);
    for (size_t i = 0; i < curve.values.size(); ++i)
      values[curve.steps[i]].push_back(curve.values[i]);
  }
  Band out;
  for (const double step : mean.steps) {
    const Interval interval = mean_interval(values[step]);
    out.low.push_back(interval.low), out.high.push_back(interval.high);
  }
  return out;
}

std::string join(const std::vector<std::string>& parts) {
  return fmt::format("[{}]", fmt::join(parts, ","));
}

// A labelled text has one loss, a text that is continued one a token.
std::string unit_of(const Panel& panel, const std::vector<ChartGroup>& groups) {
  const std::string unit = panel.unit;
  const bool labelled = std::any_of(groups.begin(), groups.end(), [](const ChartGroup& group) {
    return !value_of(group.runs[0]->config, "texts.train").empty();
  });
  if (!labelled || unit != kNatsAToken) return unit;
  const bool regression = value_of(groups[0].runs[0]->config, "model.head") == "regression";
  return regression ? "squared error" : "nats an example";
}

std::string curves_json(const std::vector<ChartGroup>& groups, const StudyResult* study) {
  std::vector<RunRecord> means;
  means.reserve(groups.size());
  for (const ChartGroup& group : groups)
    means.push_back(group.runs.size() > 1 ? mean_run(group.runs) : RunRecord());
  std::vector<std::string> panels;
  for (const Panel& panel : kPanels) {
    std::vector<std::string> lines, marks;
    for (size_t g = 0; g < groups.size(); ++g) {
      const bool several = groups[g].runs.size() > 1;
      if (!several || !panel.means_only)
        for (const RunRecord* run : groups[g].runs)
          if (const Curve curve = panel.take(*run); !curve.values.empty())
            lines.push_back(line_json(curve, g, run->name, several ? "seed" : "run"));
      if (several)
        if (const Curve curve = panel.take(means[g]); !curve.values.empty())
          lines.push_back(line_json(curve, g, groups[g].name, "mean",
                                    panel.banded ? band_of(groups[g], curve, panel) : Band{}));
    }
    // Averages of the weights, thin beside them.
    if (std::string_view(panel.id) == "validation")
      for (size_t g = 0; g < groups.size(); ++g) {
        const bool several = groups[g].runs.size() > 1;
        for (const auto& [name, loss] :
             {std::pair("ema", &EvalPoint::loss_ema), std::pair("lawa", &EvalPoint::loss_lawa)})
          if (const Curve curve = take((several ? means[g] : *groups[g].runs[0]).evaluations, loss);
              !curve.values.empty())
            lines.push_back(line_json(curve, g, groups[g].name + ", " + name, "seed"));
      }
    if (study && study->text && std::string_view(panel.id) == "validation")
      for (const auto& [name, value] : {std::pair("unigram entropy", study->text->unigram_nats),
                                        std::pair("bigram entropy", study->text->bigram_nats)})
        if (std::isfinite(value))
          marks.push_back(fmt::format(R"({{"name":"{}","y":{}}})", name, json_number(value)));
    if (!lines.empty())
      panels.push_back(
          fmt::format(R"({{"id":"{}","title":"{}","unit":"{}","lines":{},"marks":{}}})", panel.id,
                      panel.title, unit_of(panel, groups), join(lines), join(marks)));
  }
  return join(panels);
}

std::string memory_json(const std::vector<ChartGroup>& groups) {
  std::vector<std::string> bars;
  for (const ChartGroup& group : groups)
    for (const RunRecord* run : group.runs) {
      if (run->memory.empty()) continue;
      std::vector<std::string> parts;
      for (const MemoryPart& part : memory_families(run->memory))
        parts.push_back(fmt::format(R"({{"name":{},"bytes":{}}})", json_quote(part.part),
                                    json_number(part.bytes)));
      bars.push_back(
          fmt::format(R"({{"name":{},"parts":{}}})", json_quote(group.name), join(parts)));
      break;  // the runs of a group have one plan
    }
  return join(bars);
}

std::string interval_json(const std::string& name, const Interval& i, bool resolved) {
  return fmt::format(R"({{"name":{},"estimate":{},"low":{},"high":{},"resolved":{}}})",
                     json_quote(name), json_number(i.estimate), json_number(i.low),
                     json_number(i.high), resolved);
}

std::string effects_json(const StudyResult& study) {
  std::vector<std::string> rows;
  if (const auto& f = study.factorial; f && f->both.n > 1) {
    for (const FactorResult& factor : f->factors)
      rows.push_back(interval_json(fmt::format("{}: {} − {}", factor.name, factor.to, factor.from),
                                   factor.loss, factor.corrected < 0.05));
    rows.push_back(interval_json("both together", f->both, f->both_corrected < 0.05));
    rows.push_back(interval_json("interaction", f->interaction, f->interaction_corrected < 0.05));
  } else if (study.effects && study.effects->seeds > 1) {
    for (const FactorialContrast& c : study.effects->contrasts)
      rows.push_back(interval_json(c.name, c.effect, c.corrected < 0.05));
  } else {
    for (const ComparisonResult& c : study.comparisons)
      if (c.loss.n > 1)
        rows.push_back(
            interval_json(fmt::format("{} − {}", c.arm, c.reference), c.loss, c.resolved()));
  }
  return join(rows);
}

std::string cells_json(const std::vector<ChartGroup>& groups, const StudyResult& study) {
  std::vector<std::string> cells;
  for (size_t a = 0, g = 0; a < study.arms.size() && g < groups.size(); ++a) {
    if (study.arms[a].name != groups[g].name) continue;  // an arm without runs has no group
    std::vector<std::string> runs;
    for (const SeedResult& run : study.arms[a].runs)
      if (std::isfinite(run.loss))
        runs.push_back(fmt::format(R"({{"seed":{},"loss":{}}})", run.seed, json_number(run.loss)));
    cells.push_back(fmt::format(R"({{"group":{},"name":{},"mean":{},"runs":{}}})", g++,
                                json_quote(study.arms[a].name),
                                json_number(study.arms[a].loss.estimate), join(runs)));
  }
  return join(cells);
}

// The mean of `points` lists at the steps that all of them have.
template <class Point, size_t fields>
std::vector<Point> mean_points(const std::vector<const std::vector<Point>*>& lists,
                               double Point::*const (&members)[fields]) {
  std::map<double, std::pair<Point, size_t>> sums;
  for (const auto* list : lists)
    for (const Point& point : *list) {
      auto [at, fresh] = sums.try_emplace(point.step, point, 1);
      if (fresh) continue;
      for (const auto member : members) at->second.first.*member += point.*member;
      ++at->second.second;
    }
  std::vector<Point> out;
  for (auto& [step, sum] : sums) {
    if (sum.second != lists.size()) continue;
    for (const auto member : members) sum.first.*member /= static_cast<double>(lists.size());
    out.push_back(sum.first);
  }
  return out;
}

}  // namespace

std::vector<size_t> thin(const std::vector<double>& values, size_t most) {
  std::vector<size_t> out;
  const size_t n = values.size(), buckets = std::max<size_t>(1, most / 2);
  if (n <= most) {
    for (size_t i = 0; i < n; ++i) out.push_back(i);
    return out;
  }
  out.push_back(0);
  for (size_t b = 0; b < buckets; ++b) {
    const size_t begin = b * n / buckets, end = (b + 1) * n / buckets;
    size_t least = begin, greatest = begin;
    for (size_t i = begin; i < end; ++i) {
      if (values[i] < values[least] || std::isnan(values[least])) least = i;
      if (values[i] > values[greatest] || std::isnan(values[greatest])) greatest = i;
    }
    for (const size_t i : {std::min(least, greatest), std::max(least, greatest)})
      if (i > out.back()) out.push_back(i);
  }
  if (out.back() != n - 1) out.push_back(n - 1);
  return out;
}

RunRecord mean_run(const std::vector<const RunRecord*>& runs) {
  std::vector<const std::vector<TrainPoint>*> training;
  std::vector<const std::vector<EvalPoint>*> evaluations;
  for (const RunRecord* run : runs)
    training.push_back(&run->training), evaluations.push_back(&run->evaluations);
  RunRecord out;
  using T = TrainPoint;
  out.training = mean_points<T>(training, {&T::tokens, &T::seconds, &T::loss, &T::lr, &T::grad_norm,
                                           &T::tokens_per_second, &T::mfu});
  using E = EvalPoint;
  out.evaluations =
      mean_points<E>(evaluations, {&E::tokens, &E::seconds, &E::flops, &E::loss,
                                   &E::token_perplexity, &E::word_perplexity, &E::bits_per_byte,
                                   &E::error, &E::loss_ema, &E::loss_lawa});
  return out;
}

std::vector<MemoryPart> merge_layers(const std::vector<MemoryPart>& parts) {
  std::vector<MemoryPart> out;
  for (const MemoryPart& part : parts) {
    // "h.12." -> "h.*.", where the h begins a word.
    std::string name = part.part;
    size_t at = name.find("h.");
    while (at != std::string::npos && at > 0 &&
           std::isalnum(static_cast<unsigned char>(name[at - 1])))
      at = name.find("h.", at + 1);
    if (at != std::string::npos) {
      const size_t digits = at + 2;
      const size_t end = name.find_first_not_of("0123456789", digits);
      if (end > digits && (end == std::string::npos || name[end] == '.'))
        name.replace(digits, std::min(end, name.size()) - digits, "*");
    }
    const auto same = std::find_if(out.begin(), out.end(),
                                   [&](const MemoryPart& other) { return other.part == name; });
    if (same == out.end())
      out.push_back({name, part.bytes});
    else
      same->bytes += part.bytes;
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const MemoryPart& a, const MemoryPart& b) { return a.bytes > b.bytes; });
  return out;
}

std::vector<MemoryPart> memory_families(const std::vector<MemoryPart>& parts) {
  const std::vector<MemoryPart> merged = merge_layers(parts);
  const auto first_word = [](const MemoryPart& part) {
    return part.part.substr(0, part.part.find(' '));
  };
  std::map<std::string, int> uses;
  for (const MemoryPart& part : merged) ++uses[first_word(part)];
  std::vector<MemoryPart> families;
  for (const MemoryPart& part : merged) {
    const std::string word = first_word(part);
    if (part.part.ends_with(" gradient"))
      families.push_back({"gradients of activations", part.bytes});
    else if (!word.ends_with(':') && uses[word] > 1)
      families.push_back({word, part.bytes});
    else
      families.push_back(part);
  }
  return merge_layers(families);
}

std::vector<ChartGroup> groups_of(const StudyRecord& study) {
  std::vector<ChartGroup> out;
  for (const ArmRecord& arm : study.arms) {
    ChartGroup group{arm.name, {}};
    for (const auto& run : arm.runs)
      if (run) group.runs.push_back(&*run);
    if (!group.runs.empty()) out.push_back(std::move(group));
  }
  return out;
}

std::string charts_json(const std::vector<ChartGroup>& groups, const StudyResult* study) {
  std::vector<std::string> names;
  names.reserve(groups.size());
  for (const ChartGroup& group : groups) names.push_back(json_quote(group.name));
  return fmt::format(
      R"({{"groups":{},"curves":{},"memory":{},"outcome":{},"effects":{},"cells":{},"plots":{},"parallel":{}}})",
      join(names), curves_json(groups, study), memory_json(groups),
      study ? fmt::format(R"({{"noun":{},"unit":{}}})", json_quote(study->noun),
                          json_quote(study->unit))
            : "null",
      study ? effects_json(*study) : "[]", study ? cells_json(groups, *study) : "[]",
      study ? plots_json(plots_of(*study)) : "[]", study ? parallel_json(*study) : "null");
}

bool any_thinned(const std::vector<ChartGroup>& groups) {
  for (const ChartGroup& group : groups)
    for (const RunRecord* run : group.runs)
      if (run->training.size() > kMostPoints || run->evaluations.size() > kMostPoints) return true;
  return false;
}

}  // namespace strobe
