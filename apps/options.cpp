#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "apps/options.h"
#include "strobe/core/error.h"

namespace strobe {

struct Options::Impl {
  CLI::App& app;
};

namespace {

void add(CLI::Option* option, const char* type, Options::Need need,
         const std::string& without = "") {
  option->type_name(type);
  if (need == Options::required) option->required();
  if (!without.empty()) option->default_str(without);
}

// What --help names as the default; a number below 0 stands for "not given".
template <class T>
std::string shown(T value) {
  return value < 0 ? "" : fmt::format("{}", value);
}

// CLI11's own message for "--steps abc" says neither what it found nor what it takes.
template <class T>
auto reader(T& value, const std::string& name, const char* accepted) {
  return [&value, name, accepted](const std::string& text) {
    T parsed{};
    const char* end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, parsed);
    if (error != std::errc() || last != end) fail("{}: '{}' is not {}", name, text, accepted);
    value = parsed;
  };
}

CLI::App* find(CLI::App& app, const std::string& name) {
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; }))
    if (sub->get_name() == name) return sub;
  return nullptr;
}

// What was wrong, and what was probably meant. CLI11 says of a mistyped verb only that one is
// required.
std::string describe(const CLI::ParseError& error, CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  if (!names.empty()) {
    if (word.empty()) return fmt::format("no verb given; known are {}", fmt::join(names, ", "));
    const bool option = word.starts_with('-');
    if (option) {
      names.clear();
      for (const CLI::Option* known : app.get_options()) names.push_back(known->get_name());
    }
    const std::string meant = nearest(word, names.data(), names.size());
    const std::string hint = meant.empty() ? fmt::format("known are {}", fmt::join(names, ", "))
                                           : fmt::format("did you mean '{}'?", meant);
    return fmt::format("no {} is named '{}'; {}", option ? "option" : "verb", word, hint);
  }
  const std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return error.what();
  for (const CLI::Option* option : app.get_options()) names.push_back(option->get_name());
  // "--optimizer.lr=3e-4", as others write it, where keys of a recipe are taken.
  const std::string key = extras[0].substr(std::min(extras[0].size(), size_t{2}));
  const bool as_option = extras[0].starts_with("--") && key.find('.') < key.find('=');
  if (as_option && std::ranges::count(names, "overrides") > 0)
    return fmt::format("'{}' was not expected; a recipe's key has no dashes: key=value", extras[0]);
  const std::string meant = nearest(extras[0], names.data(), names.size());
  return fmt::format("'{}' was not expected{}", extras[0],
                     meant.starts_with("--") ? fmt::format("; did you mean '{}'?", meant) : "");
}

}  // namespace

void Options::flag(bool& value, const std::string& name, const std::string& help) {
  impl_.app.add_flag(name, value, help);
}
void Options::value(std::string& value, const std::string& name, const std::string& help,
                    Need need) {
  add(impl_.app.add_option(name, value, help), "TEXT", need, value);
}
void Options::value(std::optional<std::string>& value, const std::string& name,
                    const std::string& help) {
  add(impl_.app.add_option(name, value, help), "TEXT", optional);
}
void Options::value(int64_t& value, const std::string& name, const std::string& help, Need need) {
  const std::function<void(const std::string&)> read = reader(value, name, "an integer");
  add(impl_.app.add_option_function(name, read, help), "INTEGER", need, shown(value));
}
void Options::value(double& value, const std::string& name, const std::string& help, Need need) {
  const std::function<void(const std::string&)> read = reader(value, name, "a number");
  add(impl_.app.add_option_function(name, read, help), "NUMBER", need, shown(value));
}
void Options::values(std::vector<std::string>& values, const std::string& name,
                     const std::string& help, Need need) {
  add(impl_.app.add_option(name, values, help), "TEXT", need);
}

int run_verbs(int argc, char** argv, const std::vector<Verb>& verbs, const std::string& about,
              const std::string& version) {
  CLI::App app(about, "strobe");
  app.set_version_flag("--version", version);
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.footer("'strobe help VERB' says what a verb takes, with an example.");

  std::vector<std::unique_ptr<Options::Impl>> impls;
  std::function<int()> chosen;
  for (const Verb& verb : verbs) {
    CLI::App* parent = &app;
    std::string name = verb.name;
    if (const size_t space = name.find(' '); space != std::string::npos) {
      const std::string group = name.substr(0, space);
      name = name.substr(space + 1);
      parent = find(app, group);
      if (!parent) {
        parent = app.add_subcommand(group, "");
        parent->require_subcommand(1);
      }
      parent->description(parent->get_description() +
                          (parent->get_description().empty() ? "" : ", ") + name);
    }
    CLI::App* sub = parent->add_subcommand(name, verb.summary);
    sub->footer("Example:\n  " + verb.example);
    impls.push_back(std::make_unique<Options::Impl>(Options::Impl{*sub}));
    Options options(*impls.back());
    sub->callback([&chosen, run = verb.declare(options)] { chosen = run; });
  }

  // "strobe help train", as git has it, is "strobe train --help"; what follows the verb would run
  // it.
  std::vector<char*> words(argv, argv + argc);
  char help[] = "--help";
  if (argc > 1 && std::string_view(argv[1]) == "help") {
    words.erase(words.begin() + 1);
    size_t verbs_end = 1;
    for (CLI::App* at = &app; verbs_end < words.size(); ++verbs_end)
      if (at = find(*at, words[verbs_end]); !at) break;
    if (verbs_end > 1) words.resize(verbs_end);
    if (verbs_end == words.size()) words.push_back(help);
    argv = words.data(), argc = static_cast<int>(words.size());
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    CLI::App* at = &app;
    std::string path, word;
    for (int i = 1; i < argc; ++i) {
      CLI::App* next = find(*at, word = argv[i]);
      if (!next) break;
      at = next, path += word + " ", word.clear();
    }
    fail("{}{}; 'strobe {}--help' shows what is accepted",
         path.empty() ? "" : path.substr(0, path.size() - 1) + ": ", describe(error, *at, word),
         path);
  }
  return chosen();
}

}  // namespace strobe
