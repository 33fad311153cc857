// Corpora that strobe knows by name: which files they have, and what should be in them.
#pragma once

#include <string>
#include <vector>

#include "strobe/data/prepare.h"

namespace strobe {

/// What `prepare` needs for the corpus `name` out of the folder (or archive) `from`. Throws Error
/// for an unknown name, for files that are missing, and, when `from` is "", where they are
/// published.
PrepareOptions named_corpus(const std::string& name, const std::string& from);

std::vector<std::string> corpus_names();

}  // namespace strobe
