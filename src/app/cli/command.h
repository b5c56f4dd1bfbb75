// The command table: one description per command from which parsing, --help, completion and the reference
// page all come, so that they cannot disagree.
//
//   Command stop{.name = "stop", .summary = "...", .args = {{.name = "NAME", .complete =
//     Complete::Deployment}},
//                .flags = {{.name = "drain", .kind = FlagKind::Duration, .fallback = "30s", .help = "..."}},
//                .run = run_stop};
//
// Values are checked against their kind while parsing, so a command only sees well-formed ones; its typed
// getters cannot fail. Order of precedence: flag, environment variable of the flag, fallback. Pure except
// Command::run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::cli {

enum class FlagKind : uint8_t { Switch, Text, Count, Integer, Number, Bytes, Duration, Choice, List };

// What a shell offers for a value. Deployment, Replica, Device and Model ask the daemon.
enum class Complete : uint8_t { None, File, Directory, Deployment, Replica, Device, Model, Command };

struct Flag {
  std::string_view name = {};  // without the dashes
  char letter = 0;             // short form; 0 = none
  FlagKind kind = FlagKind::Switch;
  std::string_view value = {};     // placeholder in help: "BYTES"; "" = from the kind
  std::string_view fallback = {};  // "" = not set
  std::string_view help = {};
  std::string_view env = {};                   // environment variable that sets it too; "" = none
  std::vector<std::string_view> choices = {};  // Choice
  uint64_t min = 0;                            // Count
  uint64_t max = UINT32_MAX;                   // Count; Integer: -max to max
  Complete complete = Complete::None;
  bool hidden = false;
};

struct Arg {
  std::string_view name = {};  // in capitals
  std::string_view help = {};
  bool required = true;
  bool rest = false;      // takes all that follow; only the last
  bool verbatim = false;  // and what follows the first is taken as it is, also what looks like a flag
  Complete complete = Complete::None;
};

struct Example {
  std::string_view line = {};  // as typed, without "tweendeck "
  std::string_view says = {};
};

class Invocation;
struct Output;

struct Command {
  std::string_view name = {};
  std::string_view group = {};    // heading in the overview
  std::string_view summary = {};  // one line
  std::string_view about = {};    // further text of --help; may be empty
  std::vector<Arg> args = {};
  std::vector<Flag> flags = {};
  std::vector<Example> examples = {};
  std::string_view exit_note = {};  // what non-zero codes mean here beyond the common ones
  bool hidden = false;
  // The value is the exit code; an Error's exit code follows from its reason.
  std::function<Result<int>(const Invocation&, Output&)> run = {};
};

// Flags that every command takes.
const std::vector<Flag>& common_flags();

// A parsed command line. Getters take names that the command's table has; other names are a defect and abort.
class Invocation {
 public:
  const Command& command() const { return *command_; }
  bool help() const { return is_set("help"); }

  bool is_set(std::string_view flag) const;       // given by flag or environment
  bool on(std::string_view flag) const;           // Switch
  std::string text(std::string_view flag) const;  // "" when unset
  uint64_t count(std::string_view flag) const;    // 0 when unset, like the next four
  int64_t integer(std::string_view flag) const;
  double number(std::string_view flag) const;
  uint64_t bytes(std::string_view flag) const;
  Nanos duration(std::string_view flag) const;
  std::vector<std::string> list(std::string_view flag) const;  // List: comma separated and repeated alike
  std::vector<std::string> each(std::string_view flag) const;  // List: repeated only, commas stay

  size_t arg_count() const { return args_.size(); }
  std::string arg(size_t index) const { return index < args_.size() ? args_[index] : std::string(); }
  const std::vector<std::string>& args() const { return args_; }

 private:
  friend class Parser;
  const Flag& flag(std::string_view name) const;
  const Command* command_ = nullptr;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> args_;
};

// Looks environment variables up; injected so that tests have none.
using Environment = std::function<std::optional<std::string>(std::string_view)>;

// `words` are argv without the program's name. No word: the command "help". Errors: InvalidArgument with the
// near miss in the hint. The returned Invocation points into `commands`.
Result<Invocation> parse(const std::vector<Command>& commands, const std::vector<std::string>& words,
                         const Environment& environment);

const Command* find_command(const std::vector<Command>& commands, std::string_view name);
const Flag* find_flag(const Command& command, std::string_view name);  // common flags included
std::string_view value_name(const Flag& flag);

}  // namespace tweendeck::cli
