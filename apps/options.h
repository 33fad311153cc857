// Parsing of the command line.
#pragma once

#include <string>
#include <vector>

#include "apps/verb.h"

namespace strobe {

/// Parses the command line and runs the verb it names; returns the exit status.
int run_verbs(int argc, char** argv, const std::vector<Verb>& verbs, const std::string& about,
              const std::string& version);

}  // namespace strobe
