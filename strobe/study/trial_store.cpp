#include "strobe/study/trial_store.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/core/clock.h"
#include "strobe/core/error.h"
#include "strobe/core/files.h"

namespace strobe {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kPollMilliseconds = 5;
// After so long a link that Optuna left is taken for that of a process that was killed, as Optuna
// itself does.
constexpr double kGraceSeconds = 30;

std::string timestamp() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  const std::time_t seconds = micros / 1000000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+00:00", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     micros % 1000000);
}

std::string distribution_of(const Parameter& p) {
  Json attributes;
  if (p.is_choice()) {
    attributes["choices"] = Json::array();
    for (const Choice& choice : p.choices) attributes["choices"].push_back(choice.label);
    return Json{{"name", "CategoricalDistribution"}, {"attributes", attributes}}.dump();
  }
  const bool whole = p.kind == Parameter::Kind::integer;
  // Optuna steps an integer in a logarithmic range by 1.
  const Json step = whole        ? Json(p.log ? 1 : static_cast<int64_t>(p.step))
                    : p.step > 0 ? Json(p.step)
                                 : Json();
  attributes = {{"log", p.log}, {"step", step}};
  if (whole)
    attributes["low"] = static_cast<int64_t>(p.low),
    attributes["high"] = static_cast<int64_t>(p.high);
  else
    attributes["low"] = p.low, attributes["high"] = p.high;
  return Json{{"name", whole ? "IntDistribution" : "FloatDistribution"}, {"attributes", attributes}}
      .dump();
}

// The two locks of the journal.
class JournalLock {
 public:
  explicit JournalLock(const std::string& journal)
      : writers_(FileLock::wait_for(journal + ".writers")),
        link_(journal + ".lock"),
        target_("./" + fs::path(journal).filename().string()) {
    const double begin = steady_seconds();
    while (::symlink(target_.c_str(), link_.c_str()) != 0) {
      if (errno != EEXIST) fail("study: cannot lock {}: {}", journal, std::strerror(errno));
      // No other strobe process is here, so a link that strobe made belongs to one that was killed.
      std::error_code error;
      const bool ours = fs::read_symlink(link_, error) == target_ && !error;
      if (ours || steady_seconds() - begin > kGraceSeconds) ::unlink(link_.c_str());
      ::poll(nullptr, 0, kPollMilliseconds);
    }
  }
  ~JournalLock() { ::unlink(link_.c_str()); }
  JournalLock(const JournalLock&) = delete;
  JournalLock& operator=(const JournalLock&) = delete;

 private:
  FileLock writers_;
  std::string link_, target_;
};

}  // namespace

JournalLines::JournalLines(std::string worker, const Journal& journal)
    : worker_(std::move(worker)), journal_(journal) {}

namespace {

std::string line(int op, const std::string& worker, const Json& rest) {
  Json log = {{"op_code", op}, {"worker_id", worker}};
  log.update(rest);
  return log.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
}

Json object_of(const std::vector<std::pair<std::string, std::string>>& entries) {
  Json out = Json::object();
  for (const auto& [key, value] : entries)
    out[key] = key == "seed" || key == "point" ? Json(std::stoll(value)) : Json(value);
  return out;
}

}  // namespace

void JournalLines::create_study(const std::string& name, const std::string& metric) {
  text_ += line(0, worker_, {{"study_name", name}, {"directions", {1}}});
  // The first study of a journal has the number 0.
  text_ += line(3, worker_,
                {{"study_id", std::max<int64_t>(journal_.study(), 0)},
                 {"system_attr", {{"study:metric_names", {metric}}}}});
}

void JournalLines::create_trial(const NewTrial& trial) {
  Json distributions = Json::object(), params = Json::object();
  for (size_t i = 0; i < trial.space.size(); ++i) {
    if (!present(trial.point[i])) continue;
    distributions[trial.space[i].name] = distribution_of(trial.space[i]);
    params[trial.space[i].name] = trial.point[i];
  }
  text_ += line(4, worker_,
                {{"study_id", std::max<int64_t>(journal_.study(), 0)},
                 {"datetime_start", timestamp()},
                 {"state", 0},
                 {"value", nullptr},
                 {"values", nullptr},
                 {"distributions", distributions},
                 {"params", params},
                 {"user_attrs", object_of(trial.attrs)},
                 {"system_attrs", object_of(trial.system_attrs)},
                 {"intermediate_values", Json::object()}});
}

void JournalLines::set_rung(const Trial& trial, int64_t percent, double value) {
  text_ +=
      line(7, worker_, {{"trial_id", trial.id}, {"step", percent}, {"intermediate_value", value}});
}

void JournalLines::set_attr(const Trial& trial, const std::string& key, const std::string& value) {
  text_ += line(8, worker_, {{"trial_id", trial.id}, {"user_attr", {{key, value}}}});
}

void JournalLines::set_attr(const Trial& trial, const std::string& key, double value) {
  text_ += line(8, worker_, {{"trial_id", trial.id}, {"user_attr", {{key, value}}}});
}

void JournalLines::set_system_attr(const Trial& trial, const std::string& key,
                                   const std::string& value) {
  text_ += line(9, worker_, {{"trial_id", trial.id}, {"system_attr", {{key, value}}}});
}

void JournalLines::end(const Trial& trial, TrialState state, double value) {
  text_ += line(6, worker_,
                {{"trial_id", trial.id},
                 {"state", static_cast<int>(state)},
                 {"values", std::isfinite(value) ? Json::array({value}) : Json()},
                 {"datetime_complete", timestamp()}});
}

TrialStore::TrialStore(std::string file, std::string study, std::string worker)
    : journal_(std::move(file), std::move(study)), worker_(std::move(worker)) {}

const Journal& TrialStore::refresh() {
  journal_.refresh();
  return journal_;
}

void TrialStore::append(const std::string& text) {
  const std::string& file = journal_.file();
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) fail("study: cannot write {}: {}", file, std::strerror(errno));
  // Beyond what was read lies at most a torn line: the journal is locked.
  const int64_t begin = journal_.read_to();
  int error = ::ftruncate(descriptor, begin) == 0 ? 0 : errno;
  for (size_t done = 0; error == 0 && done < text.size();) {
    const ssize_t wrote = ::pwrite(descriptor, text.data() + done, text.size() - done,
                                   begin + static_cast<int64_t>(done));
    if (wrote > 0)
      done += static_cast<size_t>(wrote);
    else if (wrote == 0 || errno != EINTR)
      error = wrote == 0 ? ENOSPC : errno;
  }
  if (error == 0 && ::fsync(descriptor) != 0) error = errno;
  if (error != 0 && ::ftruncate(descriptor, begin) != 0) {
  }  // what stays is torn, and cut off before the next line
  ::close(descriptor);
  if (error != 0)
    fail("study: cannot write {}: {}; the journal is as it was, and 'strobe study run' continues",
         file, std::strerror(error));
}

void TrialStore::update(const std::function<void(const Journal&, JournalLines&)>& decide) {
  const JournalLock lock(journal_.file());
  journal_.refresh();
  JournalLines lines(worker_, journal_);
  decide(journal_, lines);
  if (lines.text().empty()) return;
  const int64_t torn = journal_.torn();
  append(lines.text());
  if (torn > 0)
    fmt::print(stderr,
               "study: {} ended in a torn line of {} bytes, of a write that was cut short; it was "
               "cut off, and what it said is done again\n",
               journal_.file(), torn);
  journal_.refresh();
}

}  // namespace strobe
