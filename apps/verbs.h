// Every verb of the command line.
#pragma once

#include <vector>

#include "apps/verb.h"

namespace strobe {

Verb verb_doctor();

inline std::vector<Verb> all_verbs() {
  return {
      verb_doctor(),
  };
}

}  // namespace strobe
