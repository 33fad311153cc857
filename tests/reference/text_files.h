// Files of text for tests: articles, packed in any way.
#pragma once

#include <archive.h>

#include <functional>
#include <map>
#include <string>

#include "strobe/core/rng.h"

namespace strobe::reference {

void write_text(const std::string& file, const std::string& text);

/// An empty folder of the test that runs, which stays for who wants to look into it.
std::string test_folder();

bool contains(const std::string& text, const std::string& part);

/// Packs files through libarchive: an archive, or with `format` null the one file compressed.
void pack(const std::string& file, int (*format)(archive*), int (*filter)(archive*),
          const std::map<std::string, std::string>& files);

/// A short article under its title, and `count` of them.
std::string article(int number);
std::string articles(int count);

/// What the Error says that `action` throws; "accepted" if it throws none.
std::string error_of(const std::function<void()>& action);

/// Expects `action` to throw an Error that says `part`.
void expect_fails(const std::function<void()>& action, const std::string& part);

/// So many words, drawn from twelve.
std::string sentence(RandomSequence& random, int64_t words);

}  // namespace strobe::reference
