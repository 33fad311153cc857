// The [space] of a study file.
#pragma once

#include <string>
#include <vector>

#include "strobe/config/toml.h"
#include "strobe/study/space.h"

namespace strobe {

/// Takes an entry below [space]; its path is without "space.". Throws Error naming `where`.
void add_to_space(Space& space, const std::string& path, const TomlEntry& entry,
                  const std::string& where);

/// What can only be said once all of it is read: ranges, conditions on what comes later. `outer`
/// are the names of factors, with their levels, that conditions may name as well.
void check_space(const Space& space, const std::vector<Parameter>& outer, const std::string& file);

/// A finite number. Throws Error naming `what` and `where`.
double number_in(const std::string& text, const std::string& what, const std::string& where);

}  // namespace strobe
