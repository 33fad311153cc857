#include "tests/reference/backends.h"

#include <map>

#include "strobe/core/error.h"

namespace strobe::reference {

Backend* shared_backend(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Backend>> backends;
  if (const auto found = backends.find(name); found != backends.end()) return found->second.get();
  std::unique_ptr<Backend> made;
  try {
    made = make_backend(name);
  } catch (const Error&) {  // the test says so
  }
  return backends.emplace(name, std::move(made)).first->second.get();
}

}  // namespace strobe::reference
