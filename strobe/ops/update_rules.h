// The arithmetic of elementwise optimizers, written once and compiled for every backend. Each is a
// file of ops/rules/ and one line in the list below, from which backends and the registry
// (optim/registry.cpp) take all they need.
#pragma once

#include <variant>

#include "strobe/ops/rules/adamw.h"
#include "strobe/ops/rules/ema.h"
#include "strobe/ops/rules/lion.h"
#include "strobe/ops/rules/nadamw.h"
#include "strobe/ops/rules/schedule_free.h"

namespace strobe {

using UpdateRule = std::variant<AdamWRule,         //
                                NAdamWRule,        //
                                LionRule,          //
                                ScheduleFreeRule,  //
                                EmaRule>;

}  // namespace strobe
