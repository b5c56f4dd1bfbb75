#include "app/cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "base/units.h"

namespace tweendeck::cli {
namespace {

Result<double> parse_number(std::string_view text, std::string_view what) {
  double value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (code != std::errc{} || end != text.data() + text.size() || !std::isfinite(value) || value < 0) {
    return fail(Reason::InvalidArgument, fmt::format("{} '{}' is not a number of at least 0", what, text),
                "write it like 0.5 or 12");
  }
  return value;
}

Result<int64_t> parse_integer(std::string_view text, uint64_t max, std::string_view what) {
  const bool negative = text.starts_with('-');
  const Result<uint64_t> size = parse_count(text.substr(negative ? 1 : 0), max, what);
  if (!size) {
    return fail(Reason::InvalidArgument,
                fmt::format("{} is '{}', not a whole number from -{} to {}", what, text, max, max));
  }
  return negative ? -static_cast<int64_t>(*size) : static_cast<int64_t>(*size);
}

Status check_value(const Flag& flag, std::string_view text) {
  std::string what = fmt::format("--{}", flag.name);
  auto prefixed = [&](Error error) {
    error.message = fmt::format("{}: {}", what, error.message);
    return fail(std::move(error));
  };
  switch (flag.kind) {
    case FlagKind::Count:
      if (auto value = parse_count(text, flag.max, what); !value || *value < flag.min) {
        return fail(Reason::InvalidArgument, fmt::format("{} is '{}', not a whole number from {} to {}", what,
                                                         text, flag.min, flag.max));
      }
      break;
    case FlagKind::Integer:
      if (auto value = parse_integer(text, flag.max, what); !value) return fail(value.error());
      break;
    case FlagKind::Number:
      if (auto value = parse_number(text, what); !value) return fail(value.error());
      break;
    case FlagKind::Bytes:
      if (auto value = parse_bytes(text); !value) return prefixed(value.error());
      break;
    case FlagKind::Duration:
      if (auto value = parse_duration(text); !value) return prefixed(value.error());
      break;
    case FlagKind::Choice:
      if (std::find(flag.choices.begin(), flag.choices.end(), text) == flag.choices.end()) {
        std::vector<std::string> names(flag.choices.begin(), flag.choices.end());
        return fail(Reason::InvalidArgument, fmt::format("{} cannot be '{}'", what, text),
                    fmt::format("use one of: {}", join(names, ", ")));
      }
      break;
    case FlagKind::Switch:
    case FlagKind::Text:
    case FlagKind::List:
      break;
  }
  return {};
}

std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known,
                         std::string_view dashes, std::string otherwise) {
  std::string_view near = nearest(word, known);
  return near.empty() ? std::move(otherwise) : fmt::format("did you mean {}{}?", dashes, near);
}

}  // namespace

const std::vector<Flag>& common_flags() {
  static const std::vector<Flag> flags = {
      {.name = "state-dir",
       .kind = FlagKind::Text,
       .value = "DIR",
       .help = "where the daemon keeps its state; one daemon per directory "
               "(default: /var/lib/tweendeck as root, else $XDG_STATE_HOME/tweendeck)",
       .env = "TWEENDECK_STATE_DIR",
       .complete = Complete::Directory},
      {.name = "output",
       .letter = 'o',
       .kind = FlagKind::Choice,
       .value = "FORMAT",
       .fallback = "table",
       .help = "table for people, json for programs",
       .env = "TWEENDECK_OUTPUT",
       .choices = {"table", "json"}},
      {.name = "no-color", .help = "no colours (also: NO_COLOR, TERM=dumb, or no terminal)"},
      {.name = "help", .letter = 'h', .help = "show this help"},
  };
  return flags;
}

const Command* find_command(const std::vector<Command>& commands, std::string_view name) {
  auto found =
      std::find_if(commands.begin(), commands.end(), [&](const Command& c) { return c.name == name; });
  return found == commands.end() ? nullptr : &*found;
}

const Flag* find_flag(const Command& command, std::string_view name) {
  for (const std::vector<Flag>* flags : {&command.flags, &common_flags()}) {
    for (const Flag& flag : *flags) {
      if (flag.name == name) return &flag;
    }
  }
  return nullptr;
}

std::string_view value_name(const Flag& flag) {
  if (!flag.value.empty()) return flag.value;
  switch (flag.kind) {
    case FlagKind::Switch:
      return "";
    case FlagKind::Text:
      return "TEXT";
    case FlagKind::Count:
    case FlagKind::Integer:
      return "N";
    case FlagKind::Number:
      return "X";
    case FlagKind::Bytes:
      return "BYTES";
    case FlagKind::Duration:
      return "TIME";
    case FlagKind::Choice:
      return "NAME";
    case FlagKind::List:
      return "LIST";
  }
  return "";
}

class Parser {
 public:
  Parser(const std::vector<Command>& commands, const std::vector<std::string>& words)
      : commands_(commands), words_(words) {}

  Result<Invocation> parse(const Environment& environment) {
    if (Status found = choose_command(); !found) return fail(found.error());
    for (size_t i = 0; i < words_.size(); ++i) {
      if (i == command_word_) continue;
      if (Status taken = take_word(i); !taken) return fail(taken.error());
    }
    if (Status env = apply_environment(environment); !env) return fail(env.error());
    if (!invocation_.is_set("help")) {
      if (Status args = check_args(); !args) return fail(args.error());
    }
    return std::move(invocation_);
  }

 private:
  // The first word that is no flag names the command; common flags may stand before it.
  Status choose_command() {
    std::string_view name = "help";
    command_word_ = words_.size();
    for (size_t i = 0; i < words_.size(); ++i) {
      const std::string& word = words_[i];
      if (word == "--") break;
      if (word.size() < 2 || word[0] != '-') {
        name = word;
        command_word_ = i;
        break;
      }
      if (word == "--version") name = "version";
      if (word.find('=') == std::string::npos && takes_value(word)) ++i;
    }
    invocation_.command_ = find_command(commands_, name);
    if (invocation_.command_ != nullptr) return {};
    std::vector<std::string_view> known;
    for (const Command& command : commands_) {
      if (!command.hidden) known.push_back(command.name);
    }
    return fail(Reason::InvalidArgument, fmt::format("unknown command '{}'", name),
                did_you_mean(name, known, "", "`tweendeck help` lists the commands"));
  }

  static bool takes_value(std::string_view word) {
    for (const Flag& flag : common_flags()) {
      bool same = word.substr(0, 2) == "--" ? word.substr(2) == flag.name
                                            : word.size() == 2 && word[1] == flag.letter;
      if (same) return flag.kind != FlagKind::Switch;
    }
    return false;
  }

  Status take_word(size_t& i) {
    const std::string& word = words_[i];
    if (only_args_ || word.size() < 2 || word[0] != '-') {
      invocation_.args_.push_back(word);
      const std::vector<Arg>& args = invocation_.command_->args;
      only_args_ = only_args_ || (!args.empty() && args.back().verbatim);
      return {};
    }
    if (word == "--") {
      only_args_ = true;
      return {};
    }
    if (word == "--version" && invocation_.command_->name == "version") return {};
    return word[1] == '-' ? take_long(i) : take_short(i);
  }

  Status take_long(size_t& i) {
    std::string_view body = std::string_view(words_[i]).substr(2);
    size_t equals = body.find('=');
    std::string_view name = body.substr(0, equals);
    const Flag* flag = find_flag(*invocation_.command_, name);
    if (flag == nullptr) return unknown_flag(name);
    if (equals != std::string_view::npos) return set(*flag, std::string(body.substr(equals + 1)), true);
    return take_value(*flag, i);
  }

  Status take_short(size_t& i) {
    std::string_view body = std::string_view(words_[i]).substr(1);
    for (const std::vector<Flag>* flags : {&invocation_.command_->flags, &common_flags()}) {
      for (const Flag& flag : *flags) {
        if (flag.letter != body[0]) continue;
        if (body.size() == 1) return take_value(flag, i);
        return set(flag, std::string(body.substr(body[1] == '=' ? 2 : 1)), true);
      }
    }
    return fail(Reason::InvalidArgument, fmt::format("unknown flag -{}", body), help_hint());
  }

  Status take_value(const Flag& flag, size_t& i) {
    if (flag.kind == FlagKind::Switch) return set(flag, "true", false);
    size_t next = i + 1;
    if (next == command_word_) ++next;
    if (next >= words_.size()) {
      return fail(Reason::InvalidArgument, fmt::format("--{} needs a value", flag.name),
                  fmt::format("write --{} {}", flag.name, value_name(flag)));
    }
    i = next;
    return set(flag, words_[next], true);
  }

  Status set(const Flag& flag, std::string text, bool with_value) {
    if (flag.kind == FlagKind::Switch && with_value && text != "true" && text != "false") {
      return fail(Reason::InvalidArgument, fmt::format("--{} takes no value, got '{}'", flag.name, text),
                  fmt::format("write --{} alone", flag.name));
    }
    if (Status checked = check_value(flag, text); !checked) return checked;
    std::vector<std::string>& values = invocation_.values_[std::string(flag.name)];
    if (flag.kind != FlagKind::List) values.clear();
    values.push_back(std::move(text));
    return {};
  }

  Status unknown_flag(std::string_view name) const {
    std::vector<std::string_view> known;
    for (const std::vector<Flag>* flags : {&invocation_.command_->flags, &common_flags()}) {
      for (const Flag& flag : *flags) {
        if (!flag.hidden) known.push_back(flag.name);
      }
    }
    return fail(Reason::InvalidArgument, fmt::format("unknown flag --{}", name),
                did_you_mean(name, known, "--", help_hint()));
  }

  Status apply_environment(const Environment& environment) {
    for (const std::vector<Flag>* flags : {&invocation_.command_->flags, &common_flags()}) {
      for (const Flag& flag : *flags) {
        if (flag.env.empty() || invocation_.is_set(flag.name)) continue;
        std::optional<std::string> value = environment(flag.env);
        if (!value || value->empty()) continue;
        if (Status checked = set(flag, *value, true); !checked) {
          Error error = checked.error();
          error.message += fmt::format(" (from the environment variable {})", flag.env);
          return fail(std::move(error));
        }
      }
    }
    return {};
  }

  Status check_args() const {
    const std::vector<Arg>& args = invocation_.command_->args;
    size_t given = invocation_.args_.size();
    for (size_t i = 0; i < args.size(); ++i) {
      if (args[i].required && (i >= given || invocation_.args_[i].empty())) {
        return fail(Reason::InvalidArgument,
                    fmt::format("{} needs {}: {}", invocation_.command_->name, args[i].name, args[i].help),
                    help_hint());
      }
    }
    bool open_ended = !args.empty() && args.back().rest;
    if (given > args.size() && !open_ended) {
      return fail(
          Reason::InvalidArgument,
          fmt::format("{} does not take '{}'", invocation_.command_->name, invocation_.args_[args.size()]),
          help_hint());
    }
    return {};
  }

  std::string help_hint() const {
    return fmt::format("`tweendeck {} --help` explains", invocation_.command_->name);
  }

  const std::vector<Command>& commands_;
  const std::vector<std::string>& words_;
  Invocation invocation_;
  size_t command_word_ = 0;
  bool only_args_ = false;
};

Result<Invocation> parse(const std::vector<Command>& commands, const std::vector<std::string>& words,
                         const Environment& environment) {
  return Parser(commands, words).parse(environment);
}

const Flag& Invocation::flag(std::string_view name) const {
  const Flag* found = find_flag(*command_, name);
  if (found == nullptr) std::abort();
  return *found;
}

bool Invocation::is_set(std::string_view name) const {
  return values_.find(name) != values_.end();
}
bool Invocation::on(std::string_view name) const {
  return text(name) == "true";
}

std::string Invocation::text(std::string_view name) const {
  auto found = values_.find(name);
  return found == values_.end() ? std::string(flag(name).fallback) : found->second.back();
}

uint64_t Invocation::count(std::string_view name) const {
  return parse_count(text(name), flag(name).max, name).value_or(0);
}
int64_t Invocation::integer(std::string_view name) const {
  return parse_integer(text(name), flag(name).max, name).value_or(0);
}
double Invocation::number(std::string_view name) const {
  return parse_number(text(name), name).value_or(0);
}
uint64_t Invocation::bytes(std::string_view name) const {
  return parse_bytes(text(name)).value_or(0);
}
Nanos Invocation::duration(std::string_view name) const {
  return parse_duration(text(name)).value_or(0);
}

std::vector<std::string> Invocation::each(std::string_view name) const {
  auto found = values_.find(name);
  if (found != values_.end()) return found->second;
  std::string fallback(flag(name).fallback);
  return fallback.empty() ? std::vector<std::string>() : std::vector<std::string>{fallback};
}

std::vector<std::string> Invocation::list(std::string_view name) const {
  std::vector<std::string> all;
  for (const std::string& value : each(name)) {
    for (std::string_view part : split(value, ',')) {
      if (part = trim(part); !part.empty()) all.emplace_back(part);
    }
  }
  return all;
}

}  // namespace tweendeck::cli
