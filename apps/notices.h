// What several commands say beside what they were asked for, and ask for alike.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "apps/verb.h"
#include "strobe/config/load.h"

namespace strobe {

/// A line on standard error for each sentence of unread_keys().
void note_unread_keys(const Config& config, const LoadedConfig& said, const Config& base);

/// A line of its own.
void print_note(const std::string& note);

/// Of a run of labelled texts, what predictions will be made with, and what that is worth.
void print_score(const std::string& folder);

/// What a fine-tuning starts from, `finetune` and `glue` alike: FROM and key=value.
void fine_tuning_options(Options& options, std::string& from, std::vector<std::string>& overrides);

/// Throws Error for an override of a key that the verb takes otherwise: the key, and what instead.
void refuse_overrides(const char* verb, const std::vector<std::string>& overrides,
                      std::initializer_list<std::pair<const char*, const char*>> keys);

}  // namespace strobe
