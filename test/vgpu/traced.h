// A forked child that is executed instruction by instruction through a window of what it does.
#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>

namespace tweendeck::vgpu::test {

// What the child does: `before` the window and in it.
struct Window {
  const char* name;
  std::function<void()> before;
  std::function<void()> inside;
};

// Stopped at the window's start when made; killed at its end of life.
class Traced {
 public:
  explicit Traced(const Window& window) {
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(4);
      window.before();
      raise(SIGSTOP);
      window.inside();
      raise(SIGSTOP);
      _exit(0);
    }
    stopped_by(SIGSTOP);
  }
  ~Traced() { kill_now(); }
  Traced(const Traced&) = delete;
  Traced& operator=(const Traced&) = delete;

  bool started() const { return started_; }
  // False at the window's end.
  bool step() {
    if (ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0) return false;
    return stopped_by(SIGTRAP);
  }
  // To the window's end at once.
  bool run_to_end() {
    if (ptrace(PTRACE_CONT, pid_, nullptr, nullptr) != 0) return false;
    return stopped_by(SIGSTOP);
  }
  uint64_t count_to_end() {
    uint64_t count = 0;
    while (step()) ++count;
    return count;
  }
  void kill_now() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  bool stopped_by(int signal) {
    int status = 0;
    started_ = waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status) && WSTOPSIG(status) == signal;
    if (WIFEXITED(status) || WIFSIGNALED(status)) pid_ = 0;
    return started_;
  }
  pid_t pid_ = 0;
  bool started_ = false;
};

// A single step is two changes of task: on one CPU they need no wake-up of another. What is forked runs there, too.
class OnOneCpu {
 public:
  OnOneCpu() {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one);
  }
  ~OnOneCpu() { sched_setaffinity(0, sizeof(before_), &before_); }
  OnOneCpu(const OnOneCpu&) = delete;
  OnOneCpu& operator=(const OnOneCpu&) = delete;

 private:
  cpu_set_t before_;
};

}  // namespace tweendeck::vgpu::test
