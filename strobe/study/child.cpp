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

[[noreturn]] void become(const std::vector<std::string>& command, int out, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kCannotStart);  // it died before it could be watched
  if (out >= 0) ::dup2(out, STDOUT_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  ::_exit(kCannotStart);
}

// Appends what is there to read; false at the end.
bool drain(int fd, std::string& output) {
  pollfd ready{fd, POLLIN, 0};
  if (::poll(&ready, 1, kPollMilliseconds) <= 0) return true;
  char buffer[4096];
  const ssize_t got = ::read(fd, buffer, sizeof buffer);
  if (got > 0) output.append(buffer, static_cast<size_t>(got));
  return got > 0 || (got < 0 && errno == EINTR);
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& command, bool capture,
                      const std::function<bool()>& stop) {
  int pipe[2] = {-1, -1};
  if (capture && ::pipe2(pipe, O_CLOEXEC) != 0) fail("study: no pipe: {}", std::strerror(errno));
  const pid_t parent = ::getpid(), child = ::fork();
  if (child < 0) fail("study: cannot start {}: {}", command[0], std::strerror(errno));
  if (child == 0) become(command, pipe[1], parent);
  if (capture) ::close(pipe[1]);

  ChildResult result;
  bool asked = false, open = capture;
  int status = 0;
  // Looks every few milliseconds: a blocking wait would be restarted after a signal.
  while (::waitpid(child, &status, WNOHANG) != child) {
    if (open)
      open = drain(pipe[0], result.output);
    else
      ::poll(nullptr, 0, kPollMilliseconds);
    if (!asked && stop && stop()) asked = true, ::kill(child, SIGTERM);
  }
  while (open) open = drain(pipe[0], result.output);
  if (capture) ::close(pipe[0]);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (result.status == kCannotStart) fail("study: cannot start {}", command[0]);
  return result;
}

}  // namespace strobe
