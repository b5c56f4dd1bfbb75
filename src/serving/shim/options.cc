#include "serving/shim/options.h"

#include <charconv>
#include <cstring>

#include "serving/shim/layout.h"

namespace tweendeck::shim {
namespace {

class Arguments {
 public:
  Arguments(int argc, char** argv) : argc_(argc), argv_(argv) {}
  bool done() const { return at_ >= argc_; }
  const char* next() { return done() ? nullptr : argv_[at_++]; }

 private:
  int argc_;
  char** argv_;
  int at_ = 1;
};

bool read_number(const char* text, uint64_t& out) {
  if (text == nullptr) return false;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, out);
  return error == std::errc() && rest == end && text != end;
}

bool read_mount(Arguments& arguments, BindMount& out) {
  const char* mode = arguments.next();
  const char* source = arguments.next();
  const char* target = arguments.next();
  if (target == nullptr) return false;
  const bool read_only = std::strcmp(mode, "ro") == 0;
  if (!read_only && std::strcmp(mode, "rw") != 0) return false;
  const std::string below = std::string(kSandboxRoot) + "/";
  out = BindMount{read_only, source, target};
  return out.target.starts_with(below) && out.target.find("/../") == std::string::npos;
}

bool read_option(const std::string& name, Arguments& arguments, Options& out) {
  if (name == "--launch") return read_number(arguments.next(), out.launch);
  if (name == "--start") return read_number(arguments.next(), out.start);
  if (name == "--parent") return read_number(arguments.next(), out.parent);
  if (name == "--port") return read_number(arguments.next(), out.port);
  if (name == "--uid") return read_number(arguments.next(), out.uid);
  if (name == "--stop-signal") return read_number(arguments.next(), out.stop_signal) && out.stop_signal < 65;
  if (name == "--grace-ms") return read_number(arguments.next(), out.grace_ms);
  if (name == "--log-bytes") return read_number(arguments.next(), out.log_bytes);
  if (name == "--mount") return read_mount(arguments, out.mounts.emplace_back());
  const char* value = arguments.next();
  if (value == nullptr) return false;
  if (name == "--dir") {
    out.dir = value;
  } else if (name == "--cgroup-procs") {
    out.cgroup_procs.emplace_back(value);
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::string parse_options(int argc, char** argv, Options& out) {
  Arguments arguments(argc, argv);
  while (!arguments.done()) {
    const std::string name = arguments.next();
    if (name == "--") break;
    if (!read_option(name, arguments, out)) return "bad option or value: " + name;
  }
  while (!arguments.done()) out.command.emplace_back(arguments.next());
  if (out.dir.empty()) return "--dir is missing";
  if (out.command.empty()) return "no program after --";
  return "";
}

}  // namespace tweendeck::shim
