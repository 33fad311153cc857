#include "strobe/optim/schedule_page.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/core/html_text.h"
#include "strobe/optim/schedule.h"

namespace strobe {

namespace {

struct Line {
  std::string name;
  Schedule schedule;
  double gamma = 1, reduced_at = 1;  // plateau: by how much, and after what share of the run
};

constexpr double kRun = 1000;  // steps of the run that is drawn

Schedule drawn(const CurveConfig& config, double warmup = 100) {
  const double timescale = warmup > 0 ? warmup : 100;
  return make_schedule(
      config, {warmup, kRun, 0.3 * kRun, 0.25 * kRun, timescale, {0.5 * kRun, 0.75 * kRun}});
}

// Curves over the run, in a frame from 0 to 1.
std::string svg(const std::vector<Line>& lines, const std::string& title) {
  constexpr double kWidth = 300, kHeight = 150, kLeft = 28, kBottom = 18, kTop = 6, kRight = 6;
  const auto x = [&](double t) { return kLeft + (kWidth - kLeft - kRight) * t / kRun; };
  const auto y = [&](double f) { return kTop + (kHeight - kTop - kBottom) * (1 - f); };
  std::string out = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                                kWidth, kHeight, escape_html(title));
  for (const double f : {0.0, 0.5, 1.0})
    out += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"left\">{}</text>\n",
        x(0), y(f), x(kRun), kLeft - 4, y(f) + 3, f);
  for (const double t : {0.0, 0.5, 1.0})
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"below\">{} %</text>\n", x(t * kRun),
                       kHeight - 4, 100 * t);
  constexpr int kPoints = 500;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string path;
    for (int k = 0; k <= kPoints; ++k) {
      const double t = kRun * k / kPoints;
      Schedule schedule = lines[i].schedule;
      if (t >= lines[i].reduced_at * kRun) schedule.plateau = lines[i].gamma;
      path += fmt::format("{}{:.1f} {:.2f}", k == 0 ? "M" : "L", x(t),
                          y(std::min(1.0, schedule.factor(t))));
    }
    out += fmt::format("<path class=\"line c{}\" d=\"{}\"><title>{}</title></path>\n", i, path,
                       escape_html(lines[i].name));
  }
  out += "</svg>\n";
  if (lines.size() < 2) return out;
  out += "<p class=\"key\">";
  for (size_t i = 0; i < lines.size(); ++i)
    out += fmt::format("<span class=\"c{}\">&#9644; {}</span> ", i, escape_html(lines[i].name));
  return out + "</p>\n";
}

// A schedule with its defaults, and what its options make of it.
std::vector<Line> lines_of(const ScheduleEntry& entry) {
  CurveConfig config;
  config.name = entry.name;
  const auto line = [&](const std::string& name, const auto& change) {
    CurveConfig changed = config;
    change(changed);
    return Line{name, drawn(changed)};
  };
  const auto floor = [&](double m) {
    return line(fmt::format("floor {}", m), [m](CurveConfig& c) { c.floor = m; });
  };
  std::vector<Line> lines = {line("floor 0", [](CurveConfig&) {})};
  if (entry.name == "constant") return lines;
  if (entry.name == "plateau") {
    lines[0].name = "reduced once, half-way", lines[0].gamma = entry.gamma,
    lines[0].reduced_at = 0.5;
    return lines;
  }
  if (entry.name == "one_cycle") {
    CurveConfig published = config;
    published.warmup_shape = "cosine", published.warmup_from = 0.04, published.floor = 4e-6;
    return {Line{"as published", drawn(published, 0.3 * kRun)}};
  }
  if (entry.name == "wsd")
    for (const char* shape : {"cosine", "1-sqrt", "square"})
      lines.push_back(line(shape, [&](CurveConfig& c) { c.cooldown_shape = shape; }));
  if (entry.name == "cosine")
    lines.push_back(line("cycles 1.5", [](CurveConfig& c) { c.cycles = 1.5; }));
  if (entry.name == "cosine_restarts")
    lines.push_back(line("cycles 3", [](CurveConfig& c) { c.cycles = 3; }));
  if (entry.name == "polynomial")
    lines.push_back(line("power 2", [](CurveConfig& c) { c.power = 2; }));
  if (entry.name == "power_cool")
    lines.push_back(line("power 2", [](CurveConfig& c) { c.power = 2; }));
  if (std::ranges::any_of(entry.options, [](const OwnOption& o) { return o.key == "gamma"; }))
    lines.push_back(line("gamma 0.5", [](CurveConfig& c) { c.gamma = 0.5; }));
  lines.push_back(floor(0.1));
  return lines;
}

std::string figure(const std::string& name, const std::string& text,
                   const std::vector<Line>& lines) {
  return fmt::format("<figure>\n<h2>{}</h2>\n{}<figcaption>{}</figcaption>\n</figure>\n",
                     escape_html(name), svg(lines, name), text);
}

}  // namespace

std::string schedule_page() {
  std::string body;
  for (const ScheduleEntry& entry : schedules()) {
    std::string text = fmt::format("<code>{}</code>", escape_html(entry.formula));
    if (!entry.options.empty()) text += "<br>options: " + escape_html(to_string(entry.options));
    if (!entry.source.empty()) text += "<br>" + escape_html(entry.source);
    body += figure(entry.name, text, lines_of(entry));
  }
  std::vector<Line> warmups;
  for (const char* shape : {"linear", "cosine", "1-sqrt", "square"}) {
    CurveConfig config;
    config.warmup_shape = shape;
    warmups.push_back({shape, drawn(config, 0.6 * kRun)});
  }
  body += figure("warm-ups", "warmup_shape, over 60 % of the run", warmups);
  return R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Schedules &#183; strobe</title>
<style>
:root { color-scheme: light dark; --ink: #222; --faint: #8886; --ground: #fff;
  --a: #1f6fb4; --b: #d1600f; --c: #2b8a3e; --d: #8e44ad; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --ground: #181a1b; --a: #6db3f2;
  --b: #ffa45c; --c: #6fd08c; --d: #c792ea; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 1100px; margin: 2em auto; padding: 0 1em; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 1.5em; }
figure { margin: 0; } h2 { font-size: 1.05em; margin: 0 0 .3em; }
figcaption { font-size: .85em; overflow-wrap: anywhere; } code { font-size: .95em; }
svg { width: 100%; height: auto; } svg text { font-size: 10px; fill: var(--ink); }
.left { text-anchor: end; } .below { text-anchor: middle; }
.grid { stroke: var(--faint); fill: none; } .line { fill: none; stroke-width: 1.8; }
.key { margin: 0; font-size: .85em; }
path.c0 { stroke: var(--a); } path.c1 { stroke: var(--b); } path.c2 { stroke: var(--c); }
path.c3 { stroke: var(--d); } path.c4 { stroke: var(--ink); } span.c0 { color: var(--a); }
span.c1 { color: var(--b); } span.c2 { color: var(--c); } span.c3 { color: var(--d); }
</style></head><body>
<h1>Schedules</h1>
<p>The factor on the peak value over a run, after a warm-up of 10 % and with a cooldown of 30 %
where there is one. <code>strobe list schedules</code> prints the same as text.</p>
<main>
)" + body +
         "</main></body></html>\n";
}

}  // namespace strobe
