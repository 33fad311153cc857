// The catalogue of schedules as a page of small curves.
#pragma once

#include <string>

namespace strobe {

/// HTML, complete in itself: every schedule over one run, with its formula, and the shapes of
/// warm-ups and cooldowns.
std::string schedule_page();

}  // namespace strobe
