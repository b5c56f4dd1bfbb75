#include "app/cli/help.h"

#include <fmt/format.h>

#include <algorithm>

namespace tweendeck::cli {
namespace {

constexpr size_t kHelpColumn = 28;  // where the explanation of a flag starts
constexpr size_t kHelpWidth = 100;

std::string usage_line(const Command& command) {
  std::string line = fmt::format("tweendeck {}", command.name);
  const bool own_flags = !command.args.empty() && command.args.back().verbatim;
  if (own_flags) line += " [flags] [--]";
  for (const Arg& arg : command.args) {
    std::string name = arg.rest ? fmt::format("{}...", arg.name) : std::string(arg.name);
    line += arg.required ? fmt::format(" {}", name) : fmt::format(" [{}]", name);
  }
  return own_flags ? line : line + " [flags]";
}

std::string flag_label(const Flag& flag) {
  std::string label = flag.letter != 0 ? fmt::format("-{}, --{}", flag.letter, flag.name)
                                       : fmt::format("    --{}", flag.name);
  std::string_view value = value_name(flag);
  return value.empty() ? label : fmt::format("{} {}", label, value);
}

std::string flag_help(const Flag& flag) {
  std::string text(flag.help);
  if (flag.kind == FlagKind::Choice) text += fmt::format("; one of {}", fmt::join(flag.choices, ", "));
  if (!flag.fallback.empty()) text += fmt::format(" (default {})", flag.fallback);
  if (!flag.env.empty()) text += fmt::format(" [${}]", flag.env);
  return text;
}

// "  label   text", the text wrapped and indented to the help column.
std::string entry(std::string_view label, std::string_view text) {
  std::string out = fmt::format("  {}", label);
  size_t column = out.size();
  if (column + 2 > kHelpColumn) {
    out += '\n';
    column = 0;
  }
  out.append(kHelpColumn - column, ' ');
  column = kHelpColumn;
  while (!text.empty()) {
    size_t space = text.find(' ');
    std::string_view word = text.substr(0, space);
    if (column > kHelpColumn && column + word.size() > kHelpWidth) {
      out += '\n';
      out.append(kHelpColumn, ' ');
      column = kHelpColumn;
    } else if (column > kHelpColumn) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
  }
  return out + '\n';
}

std::string flag_section(std::string_view title, const std::vector<Flag>& flags) {
  std::string out;
  for (const Flag& flag : flags) {
    if (!flag.hidden) out += entry(flag_label(flag), flag_help(flag));
  }
  return out.empty() ? out : fmt::format("\n{}:\n{}", title, out);
}

std::string anchor(std::string_view name) {
  return fmt::format("[{}](#{})", name, name);
}

std::string markdown_cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|' || c == '<') out += '\\';
    out += c;
  }
  return out;
}

std::string flag_table(const std::vector<Flag>& flags) {
  std::string rows;
  for (const Flag& flag : flags) {
    if (flag.hidden) continue;
    std::string label =
        flag.letter != 0 ? fmt::format("-{}, --{}", flag.letter, flag.name) : fmt::format("--{}", flag.name);
    if (!value_name(flag).empty()) label += fmt::format(" {}", value_name(flag));
    rows += fmt::format("| `{}` | {} |\n", label, markdown_cell(flag_help(flag)));
  }
  return rows.empty() ? rows : "\n| flag | meaning |\n|---|---|\n" + rows;
}

std::string command_section(const Command& command) {
  std::string out =
      fmt::format("\n## {}\n\n{}.\n\n```\n{}\n```\n", command.name, command.summary, usage_line(command));
  if (!command.about.empty()) out += fmt::format("\n{}\n", command.about);
  if (!command.args.empty()) {
    out += "\n| argument | meaning |\n|---|---|\n";
    for (const Arg& arg : command.args) {
      out += fmt::format("| `{}` | {}{} |\n", arg.name, markdown_cell(arg.help),
                         arg.required ? "" : " (optional)");
    }
  }
  out += flag_table(command.flags);
  if (!command.examples.empty()) {
    out += "\n```sh\n";
    for (const Example& example : command.examples) {
      out += fmt::format("tweendeck {}   # {}\n", example.line, example.says);
    }
    out += "```\n";
  }
  if (!command.exit_note.empty()) out += fmt::format("\nExit codes: {}.\n", command.exit_note);
  return out;
}

}  // namespace

std::string overview(const std::vector<Command>& commands) {
  std::string out =
      "Tweendeck cuts the devices of this machine into enforced slices and serves models on them.\n\n"
      "Usage: tweendeck COMMAND [flags]\n";
  std::vector<std::string_view> groups;
  for (const Command& command : commands) {
    if (!command.hidden && std::find(groups.begin(), groups.end(), command.group) == groups.end()) {
      groups.push_back(command.group);
    }
  }
  for (std::string_view group : groups) {
    out += fmt::format("\n{}:\n", group);
    for (const Command& command : commands) {
      if (!command.hidden && command.group == group)
        out += fmt::format("  {:12} {}\n", command.name, command.summary);
    }
  }
  out += flag_section("Every command takes", common_flags());
  return out +
         "\nStart here:  tweendeck up --detach && tweendeck serve smollm2 --memory 1Gi --compute 40\n"
         "`tweendeck COMMAND --help` tells more about one command.\n";
}

std::string help_of(const Command& command) {
  std::string out = fmt::format("{}.\n\nUsage: {}\n", command.summary, usage_line(command));
  if (!command.about.empty()) out += fmt::format("\n{}\n", command.about);
  if (!command.args.empty()) {
    out += "\nArguments:\n";
    for (const Arg& arg : command.args) out += entry(arg.name, arg.help);
  }
  out += flag_section("Flags", command.flags);
  out += flag_section("Every command takes", common_flags());
  if (!command.examples.empty()) {
    out += "\nExamples:\n";
    for (const Example& example : command.examples) {
      out += fmt::format("  # {}\n  tweendeck {}\n", example.says, example.line);
    }
  }
  if (!command.exit_note.empty()) out += fmt::format("\nExit codes: {}.\n", command.exit_note);
  return out;
}

std::string cli_reference(const std::vector<Command>& commands) {
  std::string out =
      "# Commands\n\n"
      "Generated from the command table (`tweendeck __reference cli`); edit `src/app/commands/`, not this "
      "page.\n\n"
      "Exit codes are listed in [exit-codes.md](exit-codes.md), reason codes in [reasons.md](reasons.md), "
      "what `-o json`\n"
      "prints in [local-api.md](local-api.md). A flag wins over its environment variable, that over the "
      "default.\n\n"
      "| command | does |\n|---|---|\n";
  for (const Command& command : commands) {
    if (!command.hidden) out += fmt::format("| {} | {} |\n", anchor(command.name), command.summary);
  }
  out += "\nEvery command takes:\n" + flag_table(common_flags());
  for (const Command& command : commands) {
    if (!command.hidden) out += command_section(command);
  }
  return out;
}

std::string exit_code_reference() {
  struct Row {
    ExitCode code;
    std::string_view meaning;
  };
  static constexpr Row kRows[] = {
      {ExitCode::Ok, "done"},
      {ExitCode::General, "failed; for `why` and `doctor`: a problem was found"},
      {ExitCode::Usage, "the command line, a file or a value is malformed"},
      {ExitCode::Unreachable, "no daemon answers"},
      {ExitCode::NotFound, "the named thing does not exist"},
      {ExitCode::Refused,
       "understood, but it cannot be done now: it does not fit, is starting, stopping or full"},
      {ExitCode::Conflict, "it exists already, or somebody else owns it"},
      {ExitCode::Timeout, "it took longer than its limit"},
  };
  std::string out =
      "# Exit codes\n\n"
      "Generated (`tweendeck __reference exit-codes`). The codes are stable; scripts may rely on them. A "
      "command that was\n"
      "interrupted with Ctrl-C returns 130.\n\n| code | meaning | reasons |\n|---|---|---|\n";
  for (const Row& row : kRows) {
    std::vector<std::string_view> reasons;
    for (size_t i = 0; i < kReasonCount; ++i) {
      if (exit_code(static_cast<Reason>(i)) == row.code) reasons.push_back(to_string(static_cast<Reason>(i)));
    }
    out +=
        fmt::format("| {} | {} | {} |\n", static_cast<int>(row.code), row.meaning, fmt::join(reasons, ", "));
  }
  return out;
}

std::string reason_reference() {
  std::string out =
      "# Reason codes\n\n"
      "Generated from `src/base/reason.def` (`tweendeck __reference reasons`). Errors, events, logs, metric "
      "labels, JSON and\n"
      "`tweendeck why` use the same words. Names are never changed, only added.\n\n"
      "| reason | means | exit code | HTTP status |\n|---|---|---|---|\n";
  for (size_t i = 0; i < kReasonCount; ++i) {
    auto reason = static_cast<Reason>(i);
    out += fmt::format("| `{}` | {} | {} | {} |\n", to_string(reason), describe(reason),
                       static_cast<int>(exit_code(reason)), http_status(reason));
  }
  return out;
}

}  // namespace tweendeck::cli
