// strobe report: a page of curves, memory, configuration and, for a study, its effects.
#include <fmt/format.h>

#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/report/run_report.h"
#include "strobe/report/study_report.h"

namespace strobe {

Verb verb_report() {
  struct Arguments {
    std::vector<std::string> folders;
    std::string out = "report.html";
  };
  return {"report", "Write an HTML report of one run, of several side by side, or of a study",
          "strobe report runs/a runs/b --out report.html", [](Options& options) {
            auto given = std::make_shared<Arguments>();
            options.values(given->folders, "runs", "run folders, or one study folder",
                           Options::required);
            options.value(given->out, "--out", "the HTML file to write");
            return [given] {
              bool study = false;
              for (const std::string& folder : given->folders)
                study = study || is_study_folder(folder);
              if (study && given->folders.size() > 1)
                fail("report: a study folder is reported alone; {} were given",
                     given->folders.size());
              if (study)
                write_study_report(given->folders[0], given->out);
              else
                write_run_report(given->folders, given->out);
              fmt::print("{}\n", given->out);
              return 0;
            };
          }};
}

}  // namespace strobe
