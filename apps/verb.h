// What a subcommand is. apps/verbs.h lists them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace strobe {

/// Declares a verb's options. A name that begins with "--" is an option, any other a positional
/// argument. The references must outlive the parse. (A thin face of CLI11, whose header only
/// apps/options.cpp pays for.)
class Options {
 public:
  struct Impl;
  explicit Options(Impl& impl) : impl_(impl) {}

  enum Need { optional, required };
  void flag(bool& value, const std::string& name, const std::string& help);
  void value(std::string& value, const std::string& name, const std::string& help,
             Need need = optional);
  /// Tells "" from nothing.
  void value(std::optional<std::string>& value, const std::string& name, const std::string& help);
  void value(int64_t& value, const std::string& name, const std::string& help,
             Need need = optional);
  void value(double& value, const std::string& name, const std::string& help, Need need = optional);
  void values(std::vector<std::string>& values, const std::string& name, const std::string& help,
              Need need = optional);

 private:
  Impl& impl_;
};

struct Verb {
  std::string name;     // "train", or two words: "data prepare"
  std::string summary;  // one line
  std::string example;  // shown at the foot of --help
  /// Declares the options and returns what to run; its result is the exit status.
  std::function<std::function<int()>(Options&)> declare;
};

/// True while a signal (Ctrl-C, SIGTERM, a closed terminal's SIGHUP) asks the running verb to
/// finish what it must and stop.
bool stop_requested();
/// Makes these signals set stop_requested(). A second Ctrl-C or SIGTERM ends the process at once; a
/// second SIGHUP does not: a closed terminal sends two.
void catch_stop_signals();
/// The same for work that is to be saved: a write to a pipe that nobody reads any more sets
/// stop_requested() too, where other verbs end there and then.
void save_when_stopped();

}  // namespace strobe
