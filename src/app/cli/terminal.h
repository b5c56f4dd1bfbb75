// What commands write, and how: colours, tables, progress, errors.
//
// Results go to stdout, everything else to stderr. Colour needs a terminal and neither NO_COLOR, TERM=dumb
// nor --no-color (CLICOLOR_FORCE forces it); it never carries meaning alone. Progress overprints one line on
// a terminal and writes one line per change elsewhere. One thread only.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "app/cli/command.h"
#include "base/result.h"

namespace tweendeck::cli {

enum class Style : uint8_t { Plain, Bold, Dim, Good, Warn, Bad, Accent };

struct ColorRules {
  bool is_terminal = false;
  bool no_color_flag = false;
  std::string no_color = {};  // values of the environment variables
  std::string term = {};
  std::string clicolor_force = {};
};
bool use_color(const ColorRules& rules);

std::string paint(std::string_view text, Style style, bool color);

// Columns a text takes in a terminal: code points, wide East Asian ones as two, colour escapes as none.
size_t display_width(std::string_view text);

// Rows of cells, the first row is the header. Columns are padded to their widest cell; the last is not
// padded.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void right_align(size_t column) { right_.push_back(column); }
  bool empty() const { return rows_.empty(); }
  // Where that takes more than `columns`, the columns `least_first` are left out one after another.
  std::string render(bool color, size_t columns = SIZE_MAX,
                     const std::vector<size_t>& least_first = {}) const;

 private:
  std::vector<size_t> widths() const;

  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> right_;
};

// Where a command writes to. Tests give files of their own.
struct Output {
  std::FILE* out = stdout;
  std::FILE* err = stderr;
  bool json = false;
  bool out_color = false;
  bool err_color = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;

  void print(std::string_view text) const;  // to stdout, as it is
  void line(std::string_view text) const;   // to stdout, with a line feed
  void note(std::string_view text) const;   // to stderr, nothing with -o json
  void warn(const Error& warning) const;    // to stderr
  void error(const Error& error) const;     // to stderr; one JSON object with -o json
  void flush() const;
  std::string good(std::string_view text) const { return paint(text, Style::Good, out_color); }
  std::string dim(std::string_view text) const { return paint(text, Style::Dim, out_color); }
  std::string bold(std::string_view text) const { return paint(text, Style::Bold, out_color); }
};
Output terminal_output(const Invocation* invocation, const Environment& environment);

// {"error":{"reason":...,"message":...,"hint":...}}: the same in the local API and on stderr.
std::string error_json(const Error& error);

// One status line that is replaced in place.
class Progress {
 public:
  explicit Progress(const Output& output) : output_(output) {}
  ~Progress() { done(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void update(const std::string& text);  // unchanged text is written once
  void done();                           // erases the line on a terminal

 private:
  const Output& output_;
  std::string last_;
};

size_t terminal_columns(int fd);  // 80 when unknown
size_t terminal_rows(int fd);     // 24 when unknown

}  // namespace tweendeck::cli
