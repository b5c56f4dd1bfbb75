// FakeKernel: a cgroup v2 tree in memory for tests on machines that have v1, with the kernel's rules that
// matter here: control files appear with their group and only for controllers that the parent gives away, a
// group with processes gives none away, values are normalised, cgroup.kill works, and a group with processes
// or children stays.
#pragma once

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "device/cgroup/kernel.h"

namespace tweendeck::device {

class FakeKernel : public Kernel {
 public:
  explicit FakeKernel(const std::string& own_group) {
    files["/proc/self/mountinfo"] = "31 23 0:28 / /cg rw,relatime - cgroup2 cgroup2 rw\n";
    files["/proc/self/cgroup"] = "0::" + own_group + "\n";
    add_group("/cg");
    files["/cg/cgroup.controllers"] = "cpuset cpu io memory pids\n";
    for (size_t slash = own_group.find('/', 1); own_group != "/"; slash = own_group.find('/', slash + 1)) {
      make_folder("/cg" + own_group.substr(0, slash));
      if (slash == std::string::npos) break;
    }
  }

  int read(const std::string& path, std::string& out) override {
    auto found = files.find(path);
    if (found == files.end()) return ENOENT;
    out = found->second;
    return 0;
  }

  int write(const std::string& path, std::string_view text) override {
    if (auto refused = refusals.find(path); refused != refusals.end()) return refused->second;
    if (!files.contains(path)) return ENOENT;
    if (ignored.contains(path)) return 0;
    std::string group = path.substr(0, path.rfind('/'));
    if (path.ends_with("/cgroup.subtree_control")) return give(group, text);
    if (path.ends_with("/cgroup.kill")) return kill_below(group);
    files[path] = std::string(text) + "\n";
    return 0;
  }

  int make_folder(const std::string& path) override {
    if (auto refused = refusals.find(path); refused != refusals.end()) return refused->second;
    if (groups.contains(path)) return EEXIST;
    if (!groups.contains(path.substr(0, path.rfind('/')))) return ENOENT;
    add_group(path);
    return 0;
  }

  int remove_folder(const std::string& path) override {
    if (!groups.contains(path)) return ENOENT;
    if (!processes[path].empty() || !folders(path).empty()) return EBUSY;
    groups.erase(path);
    std::erase_if(files, [&](const auto& file) { return file.first.starts_with(path + "/"); });
    return 0;
  }

  std::vector<std::string> folders(const std::string& path) override {
    std::vector<std::string> names;
    for (const std::string& group : groups) {
      if (group.starts_with(path + "/") && group.find('/', path.size() + 1) == std::string::npos) {
        names.push_back(group.substr(path.size() + 1));
      }
    }
    return names;
  }

  int kill(pid_t pid) override {
    killed.push_back(pid);
    if (immortal.contains(pid)) return 0;
    for (auto& [group, pids] : processes) {
      pids.erase(pid);
      show_processes(group);
    }
    return 0;
  }

  void pause(Nanos duration) override { paused += duration; }

  void add_process(const std::string& group, pid_t pid) {
    processes[group].insert(pid);
    show_processes(group);
  }

  std::map<std::string, std::string> files;
  std::set<std::string> groups;
  std::map<std::string, std::set<pid_t>> processes;  // by group
  std::map<std::string, int> refusals;               // path -> errno of writing or making it
  std::set<std::string> ignored;                     // files that take a write without effect
  std::set<pid_t> immortal;
  std::vector<pid_t> killed;
  Nanos paused = 0;

 private:
  void show_processes(const std::string& group) {
    std::string text;
    for (pid_t pid : processes[group]) text += std::to_string(pid) + "\n";
    if (groups.contains(group)) files[group + "/cgroup.procs"] = text;
  }

  bool gives(const std::string& group, std::string_view controller) {
    auto found = files.find(group + "/cgroup.subtree_control");
    return found != files.end() &&
           (" " + found->second + " ").find(" " + std::string(controller) + " ") != std::string::npos;
  }

  void add_group(const std::string& path) {
    groups.insert(path);
    files[path + "/cgroup.subtree_control"] = "";
    files[path + "/cgroup.procs"] = "";
    files[path + "/cpu.stat"] = "usage_usec 0\n";
    if (path == "/cg") return;
    files[path + "/cgroup.kill"] = "";
    add_controller_files(path);
  }

  void add_controller_files(const std::string& path) {
    std::string parent = path.substr(0, path.rfind('/'));
    auto add = [&](const char* name, const char* value) { files.try_emplace(path + name, value); };
    if (gives(parent, "cpu")) {
      add("/cpu.max", "max 100000\n");
      add("/cpu.weight", "100\n");
    }
    if (gives(parent, "cpuset")) {
      add("/cpuset.cpus", "\n");
      add("/cpuset.mems", "\n");
      add("/cpuset.cpus.effective", "0-3\n");
    }
    if (gives(parent, "memory")) {
      add("/memory.max", "max\n");
      add("/memory.swap.max", "max\n");
      add("/memory.oom.group", "0\n");
      add("/memory.current", "0\n");
      add("/memory.peak", "0\n");
      add("/memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
    }
  }

  int give(const std::string& group, std::string_view text) {
    if (group != "/cg" && !processes[group].empty()) return EBUSY;
    std::string names(text);
    std::erase(names, '+');
    files[group + "/cgroup.subtree_control"] = names;
    for (const std::string& name : folders(group)) add_controller_files(group + "/" + name);
    return 0;
  }

  int kill_below(const std::string& group) {
    for (auto& [other, pids] : processes) {
      if (other != group && !other.starts_with(group + "/")) continue;
      std::erase_if(pids, [&](pid_t pid) { return !immortal.contains(pid); });
      show_processes(other);
    }
    return 0;
  }
};

}  // namespace tweendeck::device
