#include "strobe/study/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr int kPollMilliseconds = 20;
constexpr int kCannotStart = 127;
constexpr size_t kErrorsKept = 4096;

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("study: no pipe: {}", std::strerror(errno));
  }
  ~Pipe() { close_end(0), close_end(1); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_end(int end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
};

[[noreturn]] void become(const std::vector<std::string>& command, int out, int errors,
                         pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kCannotStart);  // it died before it could be watched
  if (out >= 0) ::dup2(out, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  ::_exit(kCannotStart);
}

// Appends what is there to read; closes the end when there will be no more.
void drain(Pipe& pipe, std::string& output, bool pass_on) {
  char buffer[4096];
  const ssize_t got = ::read(pipe.ends[0], buffer, sizeof buffer);
  if (got > 0) {
    output.append(buffer, static_cast<size_t>(got));
    if (pass_on && ::write(STDERR_FILENO, buffer, static_cast<size_t>(got)) < 0) {
    }  // nobody listens
  } else if (got == 0 || errno != EINTR) {
    pipe.close_end(0);
  }
}

}  // namespace

std::string ChildResult::reason() const {
  const size_t end = errors.find_last_not_of(" \r\n");
  constexpr int kBySignal = 128;
  if (status == kBySignal + SIGKILL) return "killed by signal 9, perhaps for want of memory";
  if (status > kBySignal && end == std::string::npos)
    return fmt::format("killed by signal {}", status - kBySignal);
  if (end == std::string::npos) return fmt::format("exit status {}", status);
  const size_t newline = errors.find_last_of("\r\n", end);
  const size_t begin = newline == std::string::npos ? 0 : newline + 1;
  const std::string line = errors.substr(begin, end + 1 - begin);
  return line.starts_with("strobe: ") ? line.substr(8) : line;
}

ChildResult run_child(const std::vector<std::string>& command, bool capture,
                      const std::function<bool()>& stop, bool pass_errors_on) {
  Pipe out, errors;
  if (!capture) out.close_end(0), out.close_end(1);
  const pid_t parent = ::getpid(), child = ::fork();
  if (child < 0) fail("study: cannot start {}: {}", command[0], std::strerror(errno));
  if (child == 0) become(command, out.ends[1], errors.ends[1], parent);
  out.close_end(1), errors.close_end(1);

  ChildResult result;
  bool asked = false, ended = false;
  int status = 0;
  const auto poll_once = [&](int patience) {
    pollfd ready[2] = {{out.ends[0], POLLIN, 0}, {errors.ends[0], POLLIN, 0}};
    if (::poll(ready, 2, patience) <= 0) return false;
    if (ready[0].revents) drain(out, result.output, false);
    if (ready[1].revents) drain(errors, result.errors, pass_errors_on);
    if (result.errors.size() > 2 * kErrorsKept)
      result.errors.erase(0, result.errors.size() - kErrorsKept);
    return true;
  };
  // Looks every few milliseconds: a blocking wait would be restarted after a signal.
  while (!ended) {
    ended = ::waitpid(child, &status, WNOHANG) == child;
    if (!ended) poll_once(kPollMilliseconds);
    if (!ended && !asked && stop && stop()) asked = true, ::kill(child, SIGTERM);
  }
  // What it wrote last. A grandchild may keep the pipes open: only what is there now.
  while (poll_once(0)) {
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (result.status == kCannotStart) fail("study: cannot start {}", command[0]);
  return result;
}

}  // namespace strobe
