// Files built into the program (see the embedding in CMakeLists.txt). They are mapped with it and
// cost nothing until they are read.
#pragma once

#include <string_view>

namespace strobe {

std::string_view plotly_js();  // the plotting library, minified
std::string_view page_js();    // draws the report's charts
std::string_view page_css();

}  // namespace strobe
