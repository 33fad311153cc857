// The report opened from disk in a headless browser: it draws, it complains of nothing, and text
// from runs stays text. Skips loudly where there is no Chromium.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "strobe/core/file.h"
#include "strobe/report/run_report.h"
#include "strobe/report/study_report.h"
#include "tests/reference/synthetic_runs.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

std::string browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
    if (std::system(fmt::format("command -v {} > /dev/null 2>&1", name).c_str()) == 0) return name;
  return "";
}

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 65536> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    out.append(buffer.data(), n);
  pclose(pipe);
  return out;
}

// The page's elements, without the text of scripts and styles.
std::string elements(std::string dom) {
  for (const std::string name : {"script", "style"})
    for (size_t at = dom.find("<" + name); at != std::string::npos; at = dom.find("<" + name, at)) {
      const size_t end = dom.find("</" + name + ">", at);
      if (end == std::string::npos) break;
      dom.erase(at, end - at);
    }
  return dom;
}

struct Opened {
  std::string dom, console;  // the page after its scripts ran; lines of its console
};

// Opens `page` without a network.
Opened open_page(const std::string& page, const std::string& options = "") {
  const std::string log = page + ".log", profile = page + ".profile";
  const std::string command = fmt::format(
      "timeout 120 {} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage "
      "--host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir='{}' --window-size=1366,768 "
      "--virtual-time-budget=8000 --enable-logging=stderr --v=0 {} --dump-dom 'file://{}' 2> '{}'",
      browser(), profile, options, page, log);
  Opened out{elements(output_of(command)), ""};
  const std::string lines = read_file("test", log, 1 << 26);
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const std::string line = lines.substr(begin, end - begin);
    if (line.find("CONSOLE") != std::string::npos) out.console += line + "\n";
    begin = end + 1;
  }
  fs::remove_all(profile);
  return out;
}

size_t count(const std::string& text, const std::string& part) {
  size_t out = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++out;
  return out;
}

class Browser : public testing::Test {
 protected:
  void SetUp() override {
    if (browser().empty())
      GTEST_SKIP() << "NO CHROMIUM HERE: the report was not opened in a browser";
    folder_ = reference::test_folder();
  }

  std::string folder_;
};

TEST_F(Browser, SeesItsOwnErrors) {
  write_file("test", folder_ + "/bad.html", "<script>console.log('said'); missing();</script>");
  const Opened page = open_page(folder_ + "/bad.html");
  EXPECT_NE(page.console.find("said"), std::string::npos) << page.console;
  EXPECT_NE(page.console.find("ReferenceError"), std::string::npos) << page.console;
}

TEST_F(Browser, StudyReportDrawsItsChartsWithoutAComplaint) {
  write_study(folder_ + "/study", {});
  write_study_report(folder_ + "/study", folder_ + "/report.html");
  for (const char* theme : {"", "--blink-settings=preferredColorScheme=0"}) {
    const Opened page = open_page(folder_ + "/report.html", theme);
    EXPECT_EQ(page.console, "");
    // Five curves, memory, effects, outcomes, the interaction, a profile, time and memory.
    EXPECT_EQ(count(page.dom, "js-plotly-plot"), 12u);
    EXPECT_GE(count(page.dom, "<svg class=\"main-svg\""), 12u);
    EXPECT_GE(count(page.dom, "class=\"scatterlayer"), 7u);
    EXPECT_GT(count(page.dom, "class=\"js-line\""), 50u);
    EXPECT_EQ(count(page.dom, std::string("data-theme=\"") + (*theme ? "dark" : "light") + "\""),
              1u);
    EXPECT_EQ(count(page.dom, "aria-pressed=\"true\" title=\""), 4u) << "a switch an arm";
  }
}

TEST_F(Browser, ControlsDoWhatTheySay) {
  write_study(folder_ + "/study", {});
  write_study_report(folder_ + "/study", folder_ + "/report.html");
  const std::string click = R"(<script>
    const click = (selector) => document.querySelector(selector).click();
    const range = (id) => document.getElementById(id)._fullLayout.xaxis.range.map(Math.round).join();
    const visible = () => document.getElementById("panel-lr").data.filter((t) => t.visible).length;
    click("#axis [data-axis=seconds]");
    click("#legend button");
    click("#theme");
    click("#configuration button.all");
    Plotly.relayout("panel-training", {"xaxis.range": [5, 9]}).then(() => setTimeout(() => {
      document.body.dataset.found = [range("panel-lr"), visible(),
        document.getElementById("panel-lr").layout.xaxis.title.text,
        document.querySelectorAll("#configuration table.everything").length].join("|");
    }, 500));
  </script></body>)";
  std::string page = read_file("test", folder_ + "/report.html", 1 << 26);
  page.replace(page.rfind("</body>"), 7, click);
  write_file("test", folder_ + "/report.html", page);
  const Opened opened = open_page(folder_ + "/report.html");
  EXPECT_EQ(opened.console, "");
  EXPECT_EQ(count(opened.dom, "data-theme=\"dark\""), 1u);
  // A zoom in one panel is a zoom in all; one of four arms is off.
  EXPECT_EQ(count(opened.dom, "data-found=\"5,9|3|seconds of training|1\""), 1u)
      << opened.dom.substr(opened.dom.find("<body"), 200);
}

TEST_F(Browser, ReportOfOneRunDrawsItsCharts) {
  write_run(folder_ + "/run", {.steps = 5000});
  write_run_report({folder_ + "/run"}, folder_ + "/report.html");
  const Opened page = open_page(folder_ + "/report.html");
  EXPECT_EQ(page.console, "");
  EXPECT_EQ(count(page.dom, "js-plotly-plot"), 6u);
}

TEST_F(Browser, ARunThatHasNothingYetOpens) {
  write_run(folder_ + "/run", {});
  for (const char* file : {"events.jsonl", "memory.json", "environment.json", "result.json"})
    fs::remove(folder_ + "/run/" + file);
  write_run_report({folder_ + "/run"}, folder_ + "/report.html");
  const Opened page = open_page(folder_ + "/report.html");
  EXPECT_EQ(page.console, "");
  EXPECT_EQ(count(page.dom, "js-plotly-plot"), 0u);
}

TEST_F(Browser, TextOfRunsDoesNotRun) {
  const std::string attack =
      "</script><script>console.log('broke out')</script>"
      "<img src=x onerror=console.log('broke') onload=console.log('broke')>"
      "<svg onload=console.log('broke')>\"onclick=\"<a href='javascript:console.log(1)'>x</a>";
  RunRecord run;
  write_run(folder_ + "/run", {});
  run = read_run(folder_ + "/run");
  run.name = run.samples = run.memory[0].part = attack;
  for (auto& [key, value] : run.environment) value = attack;
  for (auto& [key, value] : run.config) value = attack;
  RunRecord other = run;
  other.name += "2";
  write_file("test", folder_ + "/report.html", run_report({run, other}));
  const Opened page = open_page(folder_ + "/report.html");
  EXPECT_EQ(page.console, "");
  EXPECT_EQ(count(page.dom, "js-plotly-plot"), 6u);
  EXPECT_EQ(count(page.dom, "<img"), 0u);
  EXPECT_EQ(count(page.dom, "href=\"javascript:"), 0u);
  EXPECT_EQ(count(page.dom, "xlink:href=\"javascript:"), 0u);
}

}  // namespace
}  // namespace strobe
