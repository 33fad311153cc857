// Reports of made-up runs: what is read, what is said, and that text from outside stays text.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/assets.h"
#include "strobe/report/charts.h"
#include "strobe/report/format.h"
#include "strobe/report/html.h"
#include "strobe/report/run_report.h"
#include "strobe/report/study_report.h"
#include "strobe/report/table.h"
#include "tests/reference/synthetic_runs.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::contains;
using reference::error_of;
using reference::test_folder;

void write(const std::string& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

std::string read(const std::string& file) { return read_file("test", file, 1 << 26); }

size_t count(const std::string& text, const std::string& part) {
  size_t out = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++out;
  return out;
}

// The page without the library inside it.
std::string own_part(const std::string& page) {
  const std::string library(plotly_js());
  const size_t at = page.find(library);
  EXPECT_NE(at, std::string::npos);
  EXPECT_EQ(page.find(library, at + 1), std::string::npos);
  return page.substr(0, at) + page.substr(at + library.size());
}

nlohmann::json charts_of(const std::string& page) {
  const std::string open = R"(<script type="application/json" id="charts">)";
  const size_t begin = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

TEST(RunReader, ReadsWhatTrainingWrites) {
  const std::string folder = test_folder() + "/tiny";
  write_run(folder, {.name = "other", .steps = 30, .final_loss = 5.25});
  const RunRecord run = read_run(folder + "/");
  EXPECT_EQ(run.name, "tiny");
  EXPECT_EQ(run.training.size(), 30u);
  EXPECT_EQ(run.evaluations.size(), 10u);
  EXPECT_EQ(run.training[9].tokens, 20480);
  EXPECT_TRUE(std::isnan(run.training[9].mfu));
  EXPECT_NEAR(run.evaluations.back().loss, 5.25, 1e-12);
  EXPECT_EQ(run.result.state, "finished");
  EXPECT_EQ(run.result.peak_bytes, 150e6);
  EXPECT_EQ(value_of(run.config, "attention.algorithm"), "flash2");
  EXPECT_EQ(value_of(run.environment, "threads"), "2");
  EXPECT_EQ(run.memory.size(), 5u);
  EXPECT_EQ(run.samples, "The river");
  EXPECT_TRUE(run.notes.empty());
}

TEST(RunReader, LeavesOutATornLastLineAndSaysSo) {
  const std::string folder = test_folder() + "/run";
  write_run(folder, {.steps = 20});
  const std::string whole = read(folder + "/events.jsonl");
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (const size_t keep : {last + 1, last + 9, whole.size() - 2}) {
    write(folder + "/events.jsonl", whole.substr(0, keep));
    const RunRecord run = read_run(folder);
    EXPECT_EQ(run.training.size() + run.evaluations.size(), 29u);
    ASSERT_EQ(run.notes.size(), 1u);
    EXPECT_TRUE(contains(run.notes[0], "torn")) << run.notes[0];
  }
  write(folder + "/events.jsonl", whole.substr(0, whole.size() - 1));  // whole but for its newline
  EXPECT_EQ(read_run(folder).evaluations.size(), 10u);
}

TEST(RunReader, NamesFileAndLineOfWhatItCannotRead) {
  const std::string folder = test_folder() + "/run";
  const auto message = [&] { return error_of([&] { read_run(folder); }); };
  EXPECT_TRUE(contains(message(), "no run folder")) << message();
  fs::create_directories(folder);
  EXPECT_TRUE(contains(message(), "no config.toml")) << message();
  write_run(folder, {});

  const std::string events = read(folder + "/events.jsonl");
  for (const char* line : {"{\"step\": 1, \"tok\n", "[1]\n", "7\n", "\xff\xfe\n", "{}{}\n"}) {
    write(folder + "/events.jsonl", "{}\n" + std::string(line) + events);
    EXPECT_TRUE(contains(message(), "events.jsonl:2 is not")) << line << message();
  }
  write(folder + "/events.jsonl", events);
  const std::pair<const char*, const char*> broken[] = {{"memory.json", "{}"},
                                                        {"memory.json", "[1]"},
                                                        {"memory.json", "[{\"part\": 1}]"},
                                                        {"memory.json", "["},
                                                        {"memory.json", ""},
                                                        {"environment.json", "[]"},
                                                        {"environment.json", "no"},
                                                        {"result.json", "[]"},
                                                        {"result.json", "{\"state\":"},
                                                        {"config.toml", "model = ["},
                                                        {"config.toml", "[model]\nwidth = 3\n"}};
  for (const auto& [file, text] : broken) {
    const std::string path = folder + "/" + file, whole = read(path);
    write(path, text);
    if (std::string(text) == "{}")
      EXPECT_EQ(message(), "accepted") << "an empty object holds no parts";
    else
      EXPECT_TRUE(contains(message(), file)) << file << " " << text << ": " << message();
    write(path, whole);
  }
  EXPECT_EQ(message(), "accepted");
}

TEST(RunReader, NeedsOnlyTheConfiguration) {
  const std::string folder = test_folder() + "/run";
  write_run(folder, {});
  for (const char* file :
       {"samples.txt", "result.json", "environment.json", "memory.json", "events.jsonl"}) {
    fs::remove(folder + "/" + file);
    const RunRecord run = read_run(folder);
    const std::string page = run_report({run});
    EXPECT_TRUE(contains(page, "Configuration")) << file;
  }
  const RunRecord run = read_run(folder);
  EXPECT_EQ(run.result.state, "unfinished");
  EXPECT_TRUE(std::isnan(run.result.loss));
  EXPECT_EQ(run.notes.size(), 3u);
}

TEST(RunReader, ReadsNullAsNotANumber) {
  const std::string folder = test_folder() + "/run";
  write_run(folder, {});
  write(
      folder + "/events.jsonl",
      R"({"step": 1, "tokens": 8, "seconds": 1, "train/loss": null, "lr": 1, "train/grad_norm": 1e300})"
      "\n");
  const RunRecord run = read_run(folder);
  ASSERT_EQ(run.training.size(), 1u);
  EXPECT_TRUE(std::isnan(run.training[0].loss));
  EXPECT_TRUE(std::isnan(run.training[0].tokens_per_second));
  run_report({run});
}

// What others have used to break out of text, attributes and scripts.
const std::string kHostile[] = {
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</ScRiPt ><img src=x onerror=alert(1)>",
    "\"><svg/onload=alert(1)>",
    "' onmouseover='alert(1)",
    "<!--<script>",
    "]]><b>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "</style><script>alert(1)</script>",
    "</pre></details><script>alert(1)</script>",
    "\\u003cscript\\u003ealert(1)",
    "\xe2\x80\xa8\xe2\x80\xa9 line separators",
    "\xff\xfe\x80 not UTF-8 <b>",
    "\xc0\xbcscript\xc0\xbe overlong",
    "${alert(1)} {{constructor}} %{fullData.x}",
    std::string("nul \0 and escape \x1b[31m", 22),
};

TEST(Html, EscapesEverythingThatCouldBeMarkup) {
  EXPECT_EQ(escape_html("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(escape_html("ä\tb\n"), "ä\tb\n");
  EXPECT_EQ(escape_html("\x80"), "\uFFFD");
  EXPECT_EQ(escape_html(std::string("\0\x1b", 2)), "\uFFFD\uFFFD");
  EXPECT_EQ(escape_json(R"({"a":"</script><!--&"})"),
            R"({"a":"\u003c/script\u003e\u003c!--\u0026"})");
  EXPECT_EQ(escape_json("\"\u2028\u2029\""), "\"\\u2028\\u2029\"");
  for (const std::string& text : kHostile)
    EXPECT_EQ(escape_html(text).find_first_of("<>\"'"), std::string::npos) << text;
}

TEST(Html, TextOfRunsNeverBecomesMarkup) {
  const std::string folder = test_folder();
  write_run(folder + "/calm", {});
  const RunRecord calm = read_run(folder + "/calm");
  const auto markup = [](const std::string& page) {
    std::string out;  // the tags, in order, without their attributes' values
    for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1))
      out += page.substr(at, page.find_first_of(" >\n", at) - at) + ";";
    return out;
  };
  const std::string expected = markup(own_part(run_report({calm, calm})));
  for (const std::string& text : kHostile) {
    RunRecord run = calm;
    run.name = run.samples = text;
    run.config[0].second = run.environment[0].first = run.environment[0].second = text;
    run.memory[0].part = text;
    RunRecord other = calm;
    other.name = other.samples = text + "x";
    other.config[0].second = run.config[0].second;
    other.environment[0] = run.environment[0];
    other.memory[0].part = text;
    const std::string page = run_report({run, other});
    EXPECT_TRUE(markup(own_part(page)) == expected) << "other tags than of calm text: " << text;
    const nlohmann::json charts = charts_of(page);  // and the data is still the data
    const bool utf8 = text.find_first_of("\xff\xc0") == std::string::npos;
    EXPECT_EQ(charts["groups"][0].get<std::string>() == text, utf8) << text;
  }
}

TEST(Html, PageFetchesNothing) {
  const std::string folder = test_folder();
  write_run(folder + "/run", {});
  const std::string page = own_part(run_report({read_run(folder + "/run")}));
  for (const char* part : {"http:", "https:", " src=", "@import", "url("})
    EXPECT_EQ(count(page, part), 0u) << part;
  EXPECT_EQ(count(page, "<link"), 1u);  // the empty icon, so that none is looked for
  EXPECT_FALSE(contains(std::string(plotly_js()), "</script"));
}

TEST(Html, ComparisonShowsDifferencesFirst) {
  const std::string table =
      html_comparison("Key", {"a", "b"}, {{"same", {"1", "1"}}, {"other", {"1", "2"}}});
  EXPECT_TRUE(contains(table, "1 of 2 values differ"));
  EXPECT_TRUE(contains(table, "<tr class=\"same\"><th>same</th>"));
  EXPECT_TRUE(contains(table, "<tr class=\"differs\"><th>other</th>"));
  const std::string alone = html_comparison("Key", {"a"}, {{"only", {"1"}}});
  EXPECT_TRUE(contains(alone, "compare everything"));
  const std::string same = html_comparison("Key", {"a", "b"}, {{"only", {"1", "1"}}});
  EXPECT_TRUE(contains(same, "compare alike"));
}

TEST(Html, LongSamplesEndAfterAWholeCharacter) {
  const std::string folder = test_folder();
  for (const char* start : {"", "x"}) {
    std::string sample = start;
    for (int i = 0; i < 4000; ++i) sample += "\u00e9";
    write_run(folder, {.sample = sample});
    const std::string page = own_part(run_report({read_run(folder)}));
    EXPECT_TRUE(contains(page, "\u00e9 …</pre>"));
    EXPECT_FALSE(contains(page, "\uFFFD"));
  }
}

TEST(Charts, ThinningKeepsSpikesEndsAndOrder) {
  std::vector<double> values(100001);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<double>(i) / 999);
  values[12345] = 50, values[77777] = -50, values[500] = std::nan("");
  const std::vector<size_t> chosen = thin(values);
  EXPECT_LE(chosen.size(), kMostPoints + 2);
  EXPECT_GE(chosen.size(), kMostPoints / 2);
  EXPECT_EQ(chosen.front(), 0u);
  EXPECT_EQ(chosen.back(), values.size() - 1);
  EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
  EXPECT_EQ(std::adjacent_find(chosen.begin(), chosen.end()), chosen.end());
  for (const size_t spike : {12345u, 77777u})
    EXPECT_TRUE(std::binary_search(chosen.begin(), chosen.end(), spike));
  EXPECT_EQ(thin(std::vector<double>(2000, 1.0)).size(), 2000u);
  EXPECT_TRUE(thin({}).empty());
}

TEST(Charts, LongCurvesAreThinnedAndThePageSaysSo) {
  const std::string folder = test_folder();
  write_run(folder + "/long", {.steps = 5000});
  const std::string page = run_report({read_run(folder + "/long")});
  EXPECT_TRUE(contains(page, "more than 2000 points"));
  const nlohmann::json charts = charts_of(page);
  ASSERT_EQ(charts["curves"].size(), 5u);
  for (const auto& panel : charts["curves"])
    for (const auto& line : panel["lines"]) {
      EXPECT_LE(line["y"].size(), 2002u);
      for (const char* axis : {"steps", "tokens", "seconds"})
        EXPECT_EQ(line[axis].size(), line["y"].size());
    }
  EXPECT_EQ(charts["curves"][1]["lines"][0]["steps"].back(), 5000);
}

TEST(Charts, MeansAreOverStepsThatAllRunsHave) {
  RunRecord a, b;
  for (const double step : {1, 2, 3}) a.training.push_back({step, 8 * step, step, 4, 1, 1, 1, 1});
  for (const double step : {1, 3, 4})
    b.training.push_back({step, 8 * step, 3 * step, 6, 1, 1, 1, 1});
  const RunRecord mean = mean_run({&a, &b});
  ASSERT_EQ(mean.training.size(), 2u);
  EXPECT_EQ(mean.training[1].step, 3);
  EXPECT_EQ(mean.training[1].tokens, 24);
  EXPECT_EQ(mean.training[1].seconds, 6);
  EXPECT_EQ(mean.training[1].loss, 5);
}

TEST(Charts, LayersOfAStackAreOnePart) {
  const std::vector<MemoryPart> merged = merge_layers({{"parameters", 5},
                                                       {"activations: h.0.attn", 1},
                                                       {"activations: h.11.attn", 2},
                                                       {"h.x.attn", 3},
                                                       {"width.3.a", 4}});
  ASSERT_EQ(merged.size(), 4u);
  EXPECT_EQ(merged[0].part, "parameters");
  const auto at = std::find_if(merged.begin(), merged.end(), [](const MemoryPart& part) {
    return part.part == "activations: h.*.attn";
  });
  ASSERT_NE(at, merged.end());
  EXPECT_EQ(at->bytes, 3);
}

TEST(Charts, PartsOfOneKindAreOneBar) {
  const std::vector<MemoryPart> families = memory_families({{"attention qkv", 3},
                                                            {"attention output", 2},
                                                            {"attention output gradient", 7},
                                                            {"residual gradient", 1},
                                                            {"parameters", 4},
                                                            {"batch", 1},
                                                            {"activations: a", 1},
                                                            {"activations: b", 2}});
  ASSERT_EQ(families.size(), 6u);
  EXPECT_EQ(families[0].part, "gradients of activations");
  EXPECT_EQ(families[0].bytes, 8);
  EXPECT_EQ(families[1].part, "attention");
  EXPECT_EQ(families[1].bytes, 5);
}

TEST(RunReader, SaysWhenTheMachineWasBusy) {
  RunRecord run;
  double tokens = 0;
  for (int step = 1; step <= 100; ++step) {
    TrainPoint point{};
    const bool slow = step % 10 == 0;
    point.tokens_per_second = slow ? 400 : 1000;
    point.tokens = tokens += slow ? 64 : 16;  // a batch need not stay the same
    run.training.push_back(point);
  }
  EXPECT_NEAR(slow_share(run), 640 / 400.0 / (640 / 400.0 + 1440 / 1000.0), 1e-12);
  EXPECT_EQ(slow_share({}), 0);
  const std::string folder = test_folder() + "/run";
  write_run(folder, {.steps = 20});
  EXPECT_TRUE(read_run(folder).notes.empty());
  std::ofstream(folder + "/events.jsonl", std::ios::app)
      << R"({"step": 21, "tokens": 43008, "train/loss": 5, "tokens_per_second": 1000})"
         "\n";
  ASSERT_EQ(read_run(folder).notes.size(), 1u);
  EXPECT_TRUE(contains(read_run(folder).notes[0], "Something else was using the machine"));
  const std::string brief = test_folder() + "/brief";
  write_run(brief, {.steps = 5});
  std::ofstream(brief + "/events.jsonl", std::ios::app)
      << R"({"step": 6, "tokens": 12288, "train/loss": 5, "tokens_per_second": 1000})"
         "\n";
  EXPECT_GT(slow_share(read_run(brief)), 0.2);
  EXPECT_TRUE(read_run(brief).notes.empty()) << "one step of six says nothing";
}

TEST(Table, AlignsCharactersNotBytes) {
  EXPECT_EQ(text_table({{"arm", "loss"}, {"ä", "−1.5"}, {"long name", "22"}}),
            "arm        loss\n---------  ----\nä          −1.5\nlong name    22\n");
  EXPECT_EQ(wrap_text("one two three", 7, "> "), "> one two\n> three\n");
}

TEST(Format, FiguresAsPeopleReadThem) {
  EXPECT_EQ(number_text(-0.2125, 3), "−0.212");
  EXPECT_EQ(number_text(-0.0001, 3), "0.000");
  EXPECT_EQ(number_text(std::nan(""), 3), "—");
  EXPECT_EQ(bytes_text(150e6), "150 MB");
  EXPECT_EQ(bytes_text(1.2e9), "1.20 GB");
  EXPECT_EQ(bytes_text(12), "12 B");
  EXPECT_EQ(count_text(999600), "1.00 M");
  EXPECT_EQ(count_text(2048), "2.05 k");
}

}  // namespace
}  // namespace strobe
