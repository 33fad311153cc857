#include "strobe/report/plots.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "strobe/report/json_object.h"

namespace strobe {

namespace {

constexpr size_t kMostSlices = 12;

std::string titled(const StudyResult& study) {
  return study.unit.empty() ? study.noun : study.noun + ", " + study.unit;
}

// The colour of each arm: arms without a run have none, as in the curves.
std::vector<int> colours(const StudyResult& study) {
  std::vector<int> out;
  int next = 0;
  for (const ArmResult& arm : study.arms) {
    const bool any = std::any_of(arm.runs.begin(), arm.runs.end(),
                                 [](const SeedResult& run) { return run.state != "missing"; });
    out.push_back(any ? next++ : -1);
  }
  return out;
}

// Runs of every arm, and a line through those arms whose means nothing beats.
Plot front_plot(const StudyResult& study, const std::string& id, const std::string& title,
                const std::string& axis, double SeedResult::*figure, double ArmResult::*of_arm,
                double scale, const std::vector<size_t>& front) {
  Plot plot{id, "fronts", title, {axis, false, {}}, {titled(study), false, {}}, {}};
  PlotTrace line{"not beaten", "lines", "circle", {}, {}, {}, -1};
  for (const size_t arm : front) {
    line.x.push_back(study.arms[arm].*of_arm / scale);
    line.y.push_back(study.arms[arm].loss.estimate), line.text.push_back(study.arms[arm].name);
  }
  plot.traces.push_back(line);
  for (size_t a = 0; a < study.arms.size(); ++a) {
    PlotTrace runs{study.arms[a].name, "markers", "circle", {}, {}, {}, colours(study)[a]};
    for (const SeedResult& run : study.arms[a].runs) {
      if (!std::isfinite(run.loss) || !std::isfinite(run.*figure)) continue;
      runs.x.push_back(run.*figure / scale), runs.y.push_back(run.loss);
      runs.text.push_back(fmt::format("seed {}", run.seed));
    }
    if (!runs.x.empty()) plot.traces.push_back(std::move(runs));
  }
  return plot;
}

Plot profile_plot(const StudyResult& study) {
  Plot plot{"profile",
            "targets",
            "Performance profile: share of targets and seeds",
            {"times the fastest arm's time", false, {}},
            {"share reached", false, {}},
            {}};
  for (size_t a = 0; a < study.arms.size(); ++a) {
    PlotTrace line{study.arms[a].name,      "steps", "circle",         study.profile->tau,
                   study.profile->share[a], {},      colours(study)[a]};
    line.x.push_back(4), line.y.push_back(line.y.back());
    plot.traces.push_back(std::move(line));
  }
  return plot;
}

// Means of the cells of the first two factors: lines that are not parallel interact.
std::optional<Plot> interaction_plot(const StudyResult& study) {
  if (study.arms.empty() || study.arms[0].levels.size() < 2) return std::nullopt;
  const std::string first = study.arms[0].levels[0].first, second = study.arms[0].levels[1].first;
  Plot plot{"interaction",
            "interactions",
            "Means of the arms, by " + first,
            {first, false, {}},
            {titled(study), false, {}},
            {}};
  const auto index_of = [](std::vector<std::string>& list, const std::string& one) {
    const auto at = std::find(list.begin(), list.end(), one);
    if (at == list.end()) list.push_back(one);
    return static_cast<size_t>(std::find(list.begin(), list.end(), one) - list.begin());
  };
  std::vector<std::string> lines;
  std::vector<std::vector<std::vector<double>>> cells;  // by line and level: means of arms
  for (const ArmResult& arm : study.arms) {
    const size_t x = index_of(plot.x.labels, value_of(arm.levels, first));
    const size_t l = index_of(lines, value_of(arm.levels, second));
    cells.resize(lines.size());
    cells[l].resize(std::max(cells[l].size(), x + 1));
    if (std::isfinite(arm.loss.estimate)) cells[l][x].push_back(arm.loss.estimate);
  }
  for (size_t l = 0; l < lines.size(); ++l) {
    PlotTrace line{second + " " + lines[l], "lines", "circle", {}, {}, {}, static_cast<int>(l)};
    for (size_t x = 0; x < cells[l].size(); ++x)
      if (!cells[l][x].empty())
        line.x.push_back(static_cast<double>(x)), line.y.push_back(mean(cells[l][x]));
    plot.traces.push_back(std::move(line));
  }
  return plot;
}

// Complete trials as points; what was pruned by its last rung, what failed at the top.
std::vector<PlotTrace> trial_traces(const SearchResult& search,
                                    const std::function<double(const TrialResult&)>& x) {
  PlotTrace complete{"complete", "markers", "circle", {}, {}, {}, 0};
  PlotTrace pruned{"pruned, at its last rung", "markers", "circle-open", {}, {}, {}, 0};
  PlotTrace failed{"failed", "markers", "x", {}, {}, {}, 1};
  double top = -INFINITY;
  for (const TrialResult& t : search.trials)
    if (t.phase == "search") {
      if (std::isfinite(t.value)) top = std::max(top, t.value);
      for (const auto& [percent, value] : t.rungs) top = std::max(top, value);
    }
  for (const TrialResult& t : search.trials) {
    if (t.phase != "search" || std::isnan(x(t))) continue;
    const bool fails = t.state == "failed";
    PlotTrace& trace = fails ? failed : t.state == "complete" ? complete : pruned;
    const double y = fails                   ? top
                     : t.state == "complete" ? t.value
                     : t.rungs.empty()       ? NAN
                                             : t.rungs.rbegin()->second;
    if (!std::isfinite(y)) continue;
    trace.x.push_back(x(t)), trace.y.push_back(y);
    trace.text.push_back(t.text + (t.reason.empty() ? "" : ": " + t.reason));
  }
  std::vector<PlotTrace> out;
  for (PlotTrace* trace : {&complete, &pruned, &failed})
    if (!trace->x.empty()) out.push_back(std::move(*trace));
  return out;
}

void add_search_plots(const StudyResult& study, std::vector<Plot>& plots) {
  const SearchResult& search = *study.search;
  const PlotAxis outcome{titled(study), false, {}};
  Plot history{"history",
               "search",
               "Best against trials",
               {"trial", false, {}},
               outcome,
               trial_traces(search, [](const auto& t) { return static_cast<double>(t.number); })};
  PlotTrace best{"best so far", "steps", "circle", {}, {}, {}, -1};
  for (const TrialResult& t : search.trials)
    if (t.phase == "search" && std::isfinite(t.best))
      best.x.push_back(static_cast<double>(t.number)), best.y.push_back(t.best),
          best.text.push_back(t.text);
  history.traces.push_back(std::move(best));
  plots.push_back(std::move(history));
  for (size_t p = 0; p < search.parameters.size() && p < kMostSlices; ++p)
    plots.push_back({fmt::format("slice-{}", p),
                     "search",
                     search.parameters[p],
                     {search.parameters[p], search.log[p], search.labels[p]},
                     outcome,
                     trial_traces(search, [p](const auto& t) { return t.parameters[p]; })});
  if (!search.importance.empty()) {
    Plot plot{
        "importance",         "search",        "Importance (PED-ANOVA)",
        {"share", false, {}}, {"", false, {}}, {{"importance", "bars", "circle", {}, {}, {}, 0}}};
    std::vector<size_t> order(search.parameters.size());
    for (size_t p = 0; p < order.size(); ++p) order[p] = p;
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return search.importance[a] < search.importance[b]; });
    for (const size_t p : order) {
      plot.traces[0].y.push_back(static_cast<double>(plot.y.labels.size()));
      plot.traces[0].x.push_back(search.importance[p]);
      plot.y.labels.push_back(search.parameters[p]);
    }
    plots.push_back(std::move(plot));
  }
  for (const RungResult& rung : search.rungs) {
    PlotTrace points{"trials", "markers", "circle", {}, {}, {}, 0};
    for (const TrialResult& t : search.trials)
      if (const auto at = t.rungs.find(rung.percent); at != t.rungs.end() && std::isfinite(t.value))
        points.x.push_back(at->second), points.y.push_back(t.value), points.text.push_back(t.text);
    if (points.x.size() > 1)
      plots.push_back({fmt::format("rung-{}", rung.percent),
                       "search",
                       fmt::format("The whole run against its rung of {} %", rung.percent),
                       {fmt::format("at {} %", rung.percent), false, {}},
                       outcome,
                       {points}});
  }
  Plot front{"front-trials",
             "search",
             "Outcome against time",
             {"seconds of training", false, {}},
             outcome,
             trial_traces(search, [](const auto& t) { return t.seconds; })};
  PlotTrace line{"not beaten", "lines", "circle", {}, {}, {}, -1};
  for (const size_t i : search.front)
    line.x.push_back(search.trials[i].seconds), line.y.push_back(search.trials[i].value),
        line.text.push_back(search.trials[i].text);
  front.traces.insert(front.traces.begin(), std::move(line));
  plots.push_back(std::move(front));
}

std::string numbers(const std::vector<double>& values) {
  return json_array(values,
                    [](double v) { return std::isfinite(v) ? fmt::format("{:.6g}", v) : "null"; });
}

std::string axis_json(const PlotAxis& axis) {
  return JsonObject()
      .text("title", axis.title)
      .raw("log", axis.log ? "true" : "false")
      .raw("labels", json_array(axis.labels, [](const std::string& l) { return json_quote(l); }))
      .str();
}

}  // namespace

std::vector<Plot> plots_of(const StudyResult& study) {
  std::vector<Plot> out;
  if (study.profile) out.push_back(profile_plot(study));
  if (study.arms.size() > 1) {
    out.push_back(front_plot(study, "front-seconds", "Outcome against time", "seconds of training",
                             &SeedResult::seconds, &ArmResult::seconds, 1, study.front_of_seconds));
    out.push_back(front_plot(study, "front-memory", "Outcome against peak memory", "MB",
                             &SeedResult::peak_bytes, &ArmResult::peak_bytes, 1e6,
                             study.front_of_memory));
  }
  if (study.effects)
    if (auto plot = interaction_plot(study)) out.push_back(std::move(*plot));
  if (study.search) add_search_plots(study, out);
  std::erase_if(out, [](const Plot& plot) {
    return std::all_of(plot.traces.begin(), plot.traces.end(),
                       [](const PlotTrace& t) { return t.x.empty(); });
  });
  return out;
}

std::string plot_frames(const std::vector<Plot>& plots, const std::string& section) {
  std::string out;
  for (const Plot& plot : plots)
    if (plot.section == section)
      out += fmt::format("<div class=\"chart\" data-plot=\"{}\"></div>", plot.id);
  return out.empty() ? "" : "<div class=\"grid two\">" + out + "</div>\n";
}

std::string plots_json(const std::vector<Plot>& plots) {
  return json_array(plots, [](const Plot& plot) {
    return JsonObject()
        .text("id", plot.id)
        .text("title", plot.title)
        .raw("x", axis_json(plot.x))
        .raw("y", axis_json(plot.y))
        .raw("traces", json_array(plot.traces,
                                  [](const PlotTrace& t) {
                                    return JsonObject()
                                        .text("name", t.name)
                                        .text("mode", t.mode)
                                        .text("symbol", t.symbol)
                                        .number("colour", t.colour)
                                        .raw("x", numbers(t.x))
                                        .raw("y", numbers(t.y))
                                        .raw("text", json_array(t.text,
                                                                [](const std::string& s) {
                                                                  return json_quote(s);
                                                                }))
                                        .str();
                                  }))
        .str();
  });
}

std::string parallel_json(const StudyResult& study) {
  if (!study.search || study.search->parameters.size() < 2) return "null";
  const SearchResult& search = *study.search;
  std::vector<const TrialResult*> complete;
  for (const TrialResult& t : search.trials)
    if (t.phase == "search" && std::isfinite(t.value)) complete.push_back(&t);
  if (complete.size() < 2) return "null";
  std::vector<std::string> dimensions;
  for (size_t p = 0; p < search.parameters.size(); ++p) {
    std::vector<double> values;
    for (const TrialResult* t : complete) values.push_back(t->parameters[p]);
    dimensions.push_back(
        JsonObject()
            .text("name", search.parameters[p])
            .raw("log", search.log[p] ? "true" : "false")
            .raw("labels",
                 json_array(search.labels[p], [](const std::string& l) { return json_quote(l); }))
            .raw("values", numbers(values))
            .str());
  }
  std::vector<double> values;
  for (const TrialResult* t : complete) values.push_back(t->value);
  return JsonObject()
      .text("outcome", study.noun)
      .raw("dimensions", json_array(dimensions, [](const std::string& d) { return d; }))
      .raw("values", numbers(values))
      .str();
}

}  // namespace strobe
