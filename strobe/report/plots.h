// The charts of a study that are points, lines or bars over two axes, as data for page.js.
#pragma once

#include <string>
#include <vector>

#include "strobe/report/study_report.h"

namespace strobe {

struct PlotTrace {
  std::string name, mode;  // mode: markers, lines, steps or bars
  std::string symbol = "circle";
  std::vector<double> x, y;
  std::vector<std::string> text;  // of each point
  int colour = 0;                 // a group's; -1: soft
};

struct PlotAxis {
  std::string title;
  bool log = false;
  std::vector<std::string> labels;  // of 0, 1, ...; empty: numbers
};

struct Plot {
  std::string id, section, title;
  PlotAxis x, y;
  std::vector<PlotTrace> traces;
};

/// Of the sections "targets", "fronts", "interactions" and "search".
std::vector<Plot> plots_of(const StudyResult& study);

/// Where page.js draws the plots of a section; "" if it has none.
std::string plot_frames(const std::vector<Plot>& plots, const std::string& section);

std::string plots_json(const std::vector<Plot>& plots);

/// The trials of a search as parallel coordinates: their parameters and their outcome.
std::string parallel_json(const StudyResult& study);

}  // namespace strobe
