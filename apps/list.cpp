// strobe list: the catalogue of optimizers, schedules and regularisers, from their own docstrings.
#include <memory>

#include "apps/verbs.h"
#include "strobe/config/fields.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/optim/optimizer.h"
#include "strobe/optim/regularisers.h"
#include "strobe/optim/schedule.h"
#include "strobe/optim/schedule_page.h"

namespace strobe {

namespace {

// One thing of the catalogue, as pairs of heading and text.
struct Item {
  std::string name;
  std::vector<std::pair<std::string, std::string>> lines;
};

std::vector<Item> optimizer_items() {
  std::vector<Item> items;
  for (const OptimizerEntry& entry : optimizers())
    items.push_back({entry.name,
                     {{"", entry.summary},
                      {"formula", entry.formula},
                      {"options", to_string(entry.options)},
                      {"source", entry.source}}});
  return items;
}

std::vector<Item> schedule_items() {
  std::vector<Item> items;
  for (const ScheduleEntry& entry : schedules())
    items.push_back({entry.name,
                     {{"factor", entry.formula},
                      {"options", to_string(entry.options)},
                      {"source", entry.source}}});
  return items;
}

std::vector<Item> regulariser_items() {
  Config config;
  const std::vector<Field> fields = fields_of(config);
  std::vector<Item> items;
  for (const RegulariserEntry& entry : regularisers()) {
    Item item{entry.name, {{"formula", entry.formula}}};
    for (const std::string& key : entry.keys)
      for (const Field& field : fields)
        if (field.path == key)
          item.lines.emplace_back("key", fmt::format("{} ({}): {}", key, field.get(), field.help));
    item.lines.emplace_back("source", entry.source);
    items.push_back(item);
  }
  return items;
}

struct Chapter {
  std::string name, introduction;
  std::vector<Item> (*items)();
};

const Chapter kChapters[] = {
    {"optimizers",
     "optimizer.name. g gradient, w weight, t the update's number from 1, l learning rate, d "
     "weight "
     "decay, decoupled. Every one takes optimizer.decay_coupled, decay_cautious and groups.",
     optimizer_items},
    {"schedules",
     "schedule.name, and the curves of schedule.weight_decay, momentum, dropout, batch and "
     "sequence "
     "as text: 'linear(floor=0.1, warmup=5 %)'. The factor on the peak value: first a warm-up, in "
     "its shape (linear, cosine, 1-sqrt, square) from warmup_from; then as below, to the floor m "
     "at "
     "the schedule's end. t: share of the way from the end of the warm-up W to the end. Lengths "
     "are "
     "steps (500), tokens ('2M tokens'), epochs ('3 epochs'), time ('25 s', '10 min') or a share "
     "of "
     "the run ('5 %').",
     schedule_items},
    {"regularisers", "Each is off, or mild, unless its keys say otherwise; defaults in brackets.",
     regulariser_items},
};

// Words of `text` in lines of the terminal's usual width, `indent` blanks before each but the
// first.
std::string wrapped(const std::string& text, size_t indent) {
  constexpr size_t kWidth = 100;
  std::string out;
  size_t column = indent;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (column > indent && column + 1 + word.size() > kWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ', ++column;
    }
    out += word, column += word.size();
    at = end + 1;
  }
  return out;
}

std::string plain(const Chapter& chapter) {
  constexpr size_t kIndent = 12;
  std::string out = wrapped(chapter.introduction, 0) + "\n";
  for (const Item& item : chapter.items()) {
    out += "\n" + item.name + "\n";
    for (const auto& [heading, text] : item.lines)
      if (!text.empty()) out += fmt::format("  {:<10}{}\n", heading, wrapped(text, kIndent));
  }
  return out;
}

std::string code(const std::string& heading, const std::string& text) {
  return heading == "formula" || heading == "factor" ? "`" + text + "`" : text;
}

std::string markdown(const Chapter& chapter) {
  std::string out = fmt::format("## {}\n\n{}\n", chapter.name, chapter.introduction);
  for (const Item& item : chapter.items()) {
    out += fmt::format("\n### {}\n\n", item.name);
    for (const auto& [heading, text] : item.lines)
      if (!text.empty())
        out += heading.empty() ? text + "\n\n"
                               : fmt::format("- {}: {}\n", heading, code(heading, text));
  }
  return out;
}

struct ListOptions {
  std::string what = "all", out = "schedules.html";
  bool plot = false, markdown = false;
};

int run_list(const ListOptions& options) {
  std::vector<std::string> names;
  for (const Chapter& chapter : kChapters) names.push_back(chapter.name);
  if (options.plot && options.what != "schedules")
    fail("list: --plot draws schedules; '{}' have no curves", options.what);
  if (options.plot) {
    write_file("list", options.out, schedule_page());
    fmt::print("{}\n", options.out);
    return 0;
  }
  bool found = false;
  for (const Chapter& chapter : kChapters) {
    if (options.what != "all" && chapter.name != options.what) continue;
    if (found) fmt::print("\n");
    fmt::print("{}", options.markdown ? markdown(chapter) : plain(chapter));
    found = true;
  }
  const std::string meant = nearest(options.what, names.data(), names.size());
  if (!found)
    fail("list: '{}' is unknown{}; known are {}, all", options.what,
         meant.empty() ? "" : fmt::format(", did you mean '{}'?", meant), fmt::join(names, ", "));
  return 0;
}

}  // namespace

Verb verb_list() {
  return {"list", "The catalogue: optimizers, schedules, regularisers",
          "strobe list schedules --plot", [](Options& options) {
            auto o = std::make_shared<ListOptions>();
            options.value(o->what, "what", "optimizers, schedules, regularisers or all");
            options.flag(o->plot, "--plot", "draw the schedules into an HTML page");
            options.value(o->out, "--out", "the HTML file that --plot writes");
            options.flag(o->markdown, "--markdown", "print as Markdown");
            return [o] { return run_list(*o); };
          }};
}

}  // namespace strobe
