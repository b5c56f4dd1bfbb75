#include "serving/shim/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "serving/shim/layout.h"

namespace tweendeck::shim {
namespace {

std::string failed(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

bool make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    if (mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return true;
}

bool make_target(const std::string& target, bool directory) {
  if (!make_parents(target)) return false;
  if (directory) return mkdir(target.c_str(), 0755) == 0 || errno == EEXIST;
  const int fd = open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  close(fd);
  return true;
}

// Sources are opened before the tmpfs covers the directory that some of them may lie in.
std::string bind(const BindMount& bind_mount, int source) {
  struct stat info{};
  if (fstat(source, &info) != 0) return failed("sandbox: " + bind_mount.source);
  if (!make_target(bind_mount.target, S_ISDIR(info.st_mode))) return failed("sandbox: " + bind_mount.target);
  const std::string path = "/proc/self/fd/" + std::to_string(source);
  if (mount(path.c_str(), bind_mount.target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return failed("sandbox: bind mount of " + bind_mount.source);
  }
  const unsigned long flags =
      MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (bind_mount.read_only ? MS_RDONLY : 0ul);
  if (mount(nullptr, bind_mount.target.c_str(), nullptr, flags, nullptr) != 0) {
    return failed("sandbox: mount flags of " + bind_mount.target);
  }
  return "";
}

// Empties all sets, so that nothing is left even where the user stays root.
bool clear_capabilities() {
  __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

}  // namespace

std::string enter_slice(const std::vector<std::string>& cgroup_procs) {
  const std::string pid = std::to_string(getpid());
  for (const std::string& path : cgroup_procs) {
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return failed("slice: " + path);
    const bool ok = write(fd, pid.data(), pid.size()) == static_cast<ssize_t>(pid.size());
    const std::string error = ok ? "" : failed("slice: " + path);
    close(fd);
    if (!ok) return error;
  }
  return "";
}

std::string enter_sandbox(const std::vector<BindMount>& mounts) {
  const std::string top = kSandboxTop;
  if (!make_target(top, true)) return failed("sandbox: " + top);
  if (unshare(CLONE_NEWNS) != 0) return failed("sandbox: mount namespace");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed("sandbox: private mounts");
  std::vector<int> sources;
  for (const BindMount& each : mounts) {
    sources.push_back(open(each.source.c_str(), O_PATH | O_CLOEXEC));
    if (sources.back() < 0) return failed("sandbox: " + each.source);
  }
  if (mount("tweendeck", top.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") != 0) {
    return failed("sandbox: tmpfs");
  }
  if (!make_target(kSandboxRoot, true)) return failed("sandbox: " + std::string(kSandboxRoot));
  for (size_t i = 0; i < mounts.size(); ++i) {
    if (std::string error = bind(mounts[i], sources[i]); !error.empty()) return error;
    close(sources[i]);
  }
  if (mount(nullptr, top.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
            nullptr) != 0) {
    return failed("sandbox: read-only");
  }
  return "";
}

std::string drop_privileges(unsigned uid) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (uid != 0) {
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
      prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
    if (setgroups(0, nullptr) != 0) return failed("user: groups");
    if (setresgid(uid, uid, uid) != 0) return failed("user: gid");
    if (setresuid(uid, uid, uid) != 0) return failed("user: uid");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("user: no_new_privs");
  if (uid != 0 && !clear_capabilities()) return failed("user: capabilities");
  return "";
}

}  // namespace tweendeck::shim
