#include "app/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"

namespace tweendeck::cli {
namespace {

constexpr size_t kDefaultColumns = 80;
constexpr size_t kDefaultRows = 24;
constexpr size_t kColumnGap = 2;

std::string_view escape_of(Style style) {
  switch (style) {
    case Style::Plain:
      return "";
    case Style::Bold:
      return "\x1b[1m";
    case Style::Dim:
      return "\x1b[2m";
    case Style::Good:
      return "\x1b[32m";
    case Style::Warn:
      return "\x1b[33m";
    case Style::Bad:
      return "\x1b[31m";
    case Style::Accent:
      return "\x1b[36m";
  }
  return "";
}

// Blocks whose characters take two columns: Hangul Jamo, CJK, full-width forms, emoji.
bool is_wide(uint32_t c) {
  return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
         (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
}

// Length in bytes of the UTF-8 sequence that starts with `lead`; 1 for anything malformed.
size_t sequence_length(unsigned char lead) {
  if (lead >= 0xf0 && lead < 0xf8) return 4;
  if (lead >= 0xe0) return lead < 0xf0 ? 3 : 1;
  return lead >= 0xc0 ? 2 : 1;
}

winsize window_of(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) size = {};
  return size;
}

void write_to(std::FILE* file, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
}

}  // namespace

bool use_color(const ColorRules& rules) {
  if (rules.no_color_flag || !rules.no_color.empty()) return false;
  if (!rules.clicolor_force.empty() && rules.clicolor_force != "0") return true;
  return rules.is_terminal && rules.term != "dumb" && !rules.term.empty();
}

std::string paint(std::string_view text, Style style, bool color) {
  if (!color || style == Style::Plain) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(style), text);
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<unsigned char>(text[i]);
    if (lead == 0x1b) {
      while (i < text.size() && text[i] != 'm') ++i;
      ++i;
      continue;
    }
    size_t length = std::min(sequence_length(lead), text.size() - i);
    uint32_t code = length == 1 ? lead : lead & (0xffu >> (length + 1));
    for (size_t k = 1; k < length; ++k)
      code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3fu);
    width += is_wide(code) ? 2 : 1;
    i += length;
  }
  return width;
}

std::vector<size_t> Table::widths() const {
  std::vector<size_t> widths(header_.size(), 0);
  auto measure = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size() && i < widths.size(); ++i)
      widths[i] = std::max(widths[i], display_width(cells[i]));
  };
  measure(header_);
  for (const auto& cells : rows_) measure(cells);
  return widths;
}

std::string Table::render(bool color, size_t columns, const std::vector<size_t>& least_first) const {
  std::vector<size_t> width = widths();
  std::vector<bool> shown(width.size(), true);
  auto total = [&] {
    size_t sum = 0;
    for (size_t i = 0; i < width.size(); ++i) {
      if (shown[i]) sum += width[i] + (sum == 0 ? 0 : kColumnGap);
    }
    return sum;
  };
  for (size_t column : least_first) {
    if (total() <= columns) break;
    shown[column] = false;
  }
  std::string out;
  auto write = [&](const std::vector<std::string>& cells, bool is_header) {
    std::string text;
    for (size_t i = 0; i < cells.size() && i < width.size(); ++i) {
      if (!shown[i]) continue;
      size_t padding = width[i] - display_width(cells[i]);
      bool right = std::find(right_.begin(), right_.end(), i) != right_.end();
      if (!text.empty()) text.append(kColumnGap, ' ');
      if (right) text.append(padding, ' ');
      text += is_header ? paint(cells[i], Style::Bold, color) : cells[i];
      if (!right) text.append(padding, ' ');
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out += text + '\n';
  };
  write(header_, true);
  for (const auto& cells : rows_) write(cells, false);
  return out;
}

void Output::print(std::string_view text) const {
  write_to(out, text);
}

void Output::line(std::string_view text) const {
  write_to(out, text);
  write_to(out, "\n");
}

void Output::note(std::string_view text) const {
  if (json) return;
  write_to(err, text);
  write_to(err, "\n");
}

void Output::warn(const Error& warning) const {
  write_to(err, fmt::format("{} {} [{}]\n", paint("warning:", Style::Warn, err_color), warning.message,
                            to_string(warning.reason)));
  if (!warning.hint.empty()) write_to(err, fmt::format("   hint: {}\n", warning.hint));
}

void Output::error(const Error& error) const {
  flush();
  if (json) {
    write_to(err, error_json(error) + "\n");
    return;
  }
  write_to(err, fmt::format("{} {} [{}]\n", paint("error:", Style::Bad, err_color), error.message,
                            to_string(error.reason)));
  if (!error.hint.empty()) write_to(err, fmt::format(" hint: {}\n", error.hint));
}

void Output::flush() const {
  std::fflush(out);
}

Output terminal_output(const Invocation* invocation, const Environment& environment) {
  Output output;
  output.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  output.err_is_terminal = isatty(STDERR_FILENO) == 1;
  ColorRules rules{.no_color_flag = invocation != nullptr && invocation->on("no-color"),
                   .no_color = environment("NO_COLOR").value_or(""),
                   .term = environment("TERM").value_or(""),
                   .clicolor_force = environment("CLICOLOR_FORCE").value_or("")};
  rules.is_terminal = output.out_is_terminal;
  output.out_color = use_color(rules);
  rules.is_terminal = output.err_is_terminal;
  output.err_color = use_color(rules);
  output.json = invocation != nullptr && invocation->text("output") == "json";
  return output;
}

std::string error_json(const Error& error) {
  return fmt::format(R"({{"error":{{"reason":{},"message":{},"hint":{}}}}})",
                     json_quote(to_string(error.reason)), json_quote(error.message), json_quote(error.hint));
}

void Progress::update(const std::string& text) {
  if (text == last_ || output_.json) return;
  last_ = text;
  if (!output_.err_is_terminal) {
    output_.note(text);
    return;
  }
  size_t columns = terminal_columns(STDERR_FILENO);
  std::string cut = text.size() < columns ? text : text.substr(0, columns - 1);
  write_to(output_.err, fmt::format("\r\x1b[K{}", cut));
  std::fflush(output_.err);
}

void Progress::done() {
  if (output_.err_is_terminal && !last_.empty()) write_to(output_.err, "\r\x1b[K");
  last_.clear();
}

size_t terminal_columns(int fd) {
  unsigned short columns = window_of(fd).ws_col;
  return columns == 0 ? kDefaultColumns : columns;
}

size_t terminal_rows(int fd) {
  unsigned short rows = window_of(fd).ws_row;
  return rows == 0 ? kDefaultRows : rows;
}

}  // namespace tweendeck::cli
