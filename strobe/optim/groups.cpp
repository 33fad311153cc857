#include "strobe/optim/groups.h"

#include "strobe/config/terms.h"
#include "strobe/core/error.h"
#include "strobe/core/number.h"

namespace strobe {

namespace {

// '*' stands for any text, the empty one too.
bool fits(std::string_view pattern, std::string_view text) {
  // A star takes as little as lets what follows it fit; only the newest has ever to take more.
  size_t p = 0, t = 0, star = std::string_view::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, taken = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1, t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

double number(const std::string& text, const std::string& key) {
  const std::optional<double> value = to_number(text);
  if (!value) fail("optimizer.groups: {}: '{}' is not a number", key, text);
  return *value;
}

void set_option(OptimizerConfig& group, const OptimizerConfig& all, const std::string& key,
                const std::string& value) {
  if (key == "optimizer") {
    group.name = value;
  } else if (key == "lr") {
    group.lr = number(value, key);
  } else if (key == "lr_scale") {
    group.lr = all.lr * number(value, key);
  } else if (key == "weight_decay") {
    group.weight_decay = number(value, key), group.decay_all = true;
  } else if (key == "beta1") {
    group.beta1 = number(value, key);
  } else if (key == "beta2") {
    group.beta2 = number(value, key);
  } else if (key == "eps") {
    group.eps = number(value, key);
  } else if (key == "momentum") {
    group.momentum = number(value, key);
  } else {
    fail(
        "optimizer.groups: '{}' is unknown; known are optimizer, lr, lr_scale, weight_decay, "
        "beta1, beta2, eps, momentum",
        key);
  }
}

class GroupedOptimizer : public Optimizer {
 public:
  explicit GroupedOptimizer(const OptimizerConfig& config) : groups_(parse_groups(config)) {
    for (const ParamGroup& group : groups_) members_.push_back(make_optimizer(group.config));
  }

  std::vector<Tensor> states(const Param& param) const override {
    return member_of(param).states(param);
  }
  void initialise(Backend& ops, std::span<Param* const> params) const override {
    const auto split = split_by_group(params);
    for (size_t i = 0; i < split.size(); ++i) members_[i]->initialise(ops, split[i]);
  }
  int64_t workspace_bytes(const Backend& ops, std::span<Param* const> params) const override {
    int64_t most = 0;
    const auto split = split_by_group(params);
    for (size_t i = 0; i < split.size(); ++i)
      most = std::max(most, members_[i]->workspace_bytes(ops, split[i]));
    return most;
  }
  void step(Backend& ops, std::span<Param* const> params, Tensor workspace) override {
    const auto split = split_by_group(params);
    for (size_t i = 0; i < split.size(); ++i)
      if (!split[i].empty()) members_[i]->step(ops, split[i], workspace);
  }
  bool averages(const Param& param) const override { return member_of(param).averages(param); }
  void write_average(Backend& ops, const Param& param, Tensor out) const override {
    member_of(param).write_average(ops, param, out);
  }

 private:
  size_t group_of(const Param& param) const {
    size_t i = 0;
    while (!groups_[i].has(param.name)) ++i;
    return i;
  }
  const Optimizer& member_of(const Param& param) const { return *members_[group_of(param)]; }
  std::vector<std::vector<Param*>> split_by_group(std::span<Param* const> params) const {
    std::vector<std::vector<Param*>> out(groups_.size());
    for (Param* param : params) out[group_of(*param)].push_back(param);
    return out;
  }

  std::vector<ParamGroup> groups_;
  std::vector<std::unique_ptr<Optimizer>> members_;
};

}  // namespace

bool ParamGroup::has(const std::string& name) const {
  if (patterns.empty()) return true;
  for (const std::string& pattern : patterns)
    if (fits(pattern, name)) return true;
  return false;
}

std::vector<ParamGroup> parse_groups(const OptimizerConfig& config) {
  std::vector<ParamGroup> groups;
  OptimizerConfig base = config;
  base.groups.clear();
  if (!config.groups.empty() && !(config.lr > 0))
    fail("optimizer.groups: groups need an optimizer.lr above 0, found {}", config.lr);
  for (std::string_view rest = config.groups; !trimmed(rest).empty();) {
    const size_t semicolon = rest.find(';');
    const std::string_view text = trimmed(rest.substr(0, semicolon));
    rest = semicolon == std::string_view::npos ? std::string_view{} : rest.substr(semicolon + 1);
    if (text.empty()) continue;
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos)
      fail("optimizer.groups: '{}' has no colon; write '*wte*|*wpe*: lr=1e-3 weight_decay=0'",
           text);
    ParamGroup group{{}, base, {}};
    for (std::string_view names = text.substr(0, colon);;) {
      const size_t bar = names.find('|');
      const std::string_view pattern = trimmed(names.substr(0, bar));
      if (pattern.empty()) fail("optimizer.groups: '{}' has an empty pattern", text);
      group.patterns.emplace_back(pattern);
      if (bar == std::string_view::npos) break;
      names = names.substr(bar + 1);
    }
    for (const auto& [key, value] : parse_options(text.substr(colon + 1), "optimizer.groups"))
      group.said.push_back(key), set_option(group.config, config, key, value);
    group.config.lr_scale = group.config.lr / config.lr;
    groups.push_back(std::move(group));
  }
  groups.push_back({{}, base, {}});
  return groups;
}

std::unique_ptr<Optimizer> make_grouped_optimizer(const OptimizerConfig& config) {
  return std::make_unique<GroupedOptimizer>(config);
}

void check_groups(const OptimizerConfig& config, std::span<Param* const> params) {
  if (config.groups.empty()) return;
  const std::vector<ParamGroup> groups = parse_groups(config);
  for (const ParamGroup& group : groups) {
    for (const std::string& pattern : group.patterns) {
      bool used = false;
      for (const Param* param : params) used = used || fits(pattern, param->name);
      if (!used)
        fail("optimizer.groups: no parameter is named like '{}'; the first are {}, {}, ...",
             pattern, params.front()->name, params.back()->name);
    }
  }
}

}  // namespace strobe
