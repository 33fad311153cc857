// Text as HTML.
#pragma once

#include <string>
#include <string_view>

namespace strobe {

/// `text` as HTML, in elements and in quoted attributes: & < > " ' become entities, what is not
/// UTF-8 and control characters (other than tab and newline) become U+FFFD.
std::string escape_html(std::string_view text);

}  // namespace strobe
