#include <CLI/CLI.hpp>

#include "apps/options.h"
#include "strobe/core/error.h"

namespace strobe {

struct Options::Impl {
  CLI::App& app;
};

namespace {

template <class T>
void add(CLI::App& app, T& value, const std::string& name, const std::string& help,
         Options::Need need) {
  CLI::Option* option = app.add_option(name, value, help);
  if (need == Options::required) option->required();
}

CLI::App* find(CLI::App& app, const std::string& name) {
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; }))
    if (sub->get_name() == name) return sub;
  return nullptr;
}

// "did you mean" for a mistyped verb; CLI11 says only that it was not expected.
std::string suggest_verb(const std::vector<Verb>& verbs, const std::string& word) {
  std::vector<std::string> names;
  for (const Verb& verb : verbs) names.push_back(verb.name.substr(0, verb.name.find(' ')));
  return nearest(word, names.data(), names.size());
}

}  // namespace

void Options::flag(bool& value, const std::string& name, const std::string& help) {
  impl_.app.add_flag(name, value, help);
}
void Options::value(std::string& value, const std::string& name, const std::string& help,
                    Need need) {
  add(impl_.app, value, name, help, need);
}
void Options::value(int64_t& value, const std::string& name, const std::string& help, Need need) {
  add(impl_.app, value, name, help, need);
}
void Options::value(double& value, const std::string& name, const std::string& help, Need need) {
  add(impl_.app, value, name, help, need);
}
void Options::values(std::vector<std::string>& values, const std::string& name,
                     const std::string& help, Need need) {
  add(impl_.app, values, name, help, need);
}

int run_verbs(int argc, char** argv, const std::vector<Verb>& verbs, const std::string& about,
              const std::string& version) {
  CLI::App app(about, "strobe");
  app.set_version_flag("--version", version);
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Print this help and exit");

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

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    const std::string word = argc > 1 ? argv[1] : "";
    const std::string meant = argc > 1 && !find(app, word) ? suggest_verb(verbs, word) : "";
    const std::string hint = meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant);
    fmt::print(stderr, "strobe: {}{}\nstrobe: 'strobe {}--help' shows what is accepted\n",
               error.what(), hint, find(app, word) ? word + " " : "");
    return 1;
  }
  return chosen();
}

}  // namespace strobe
