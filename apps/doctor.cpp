// strobe doctor: what this machine can do, and what to mend.
#include <cstdio>

#include "apps/verbs.h"
#include "strobe/core/threads.h"

namespace strobe {

Verb verb_doctor() {
  return {"doctor", "What this machine can do, and what to mend", "strobe doctor", [](Options&) {
            return [] {
              std::printf("threads  %d\n", threads());
              return 0;
            };
          }};
}

}  // namespace strobe
