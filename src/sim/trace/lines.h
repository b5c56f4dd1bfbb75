// Walks the lines of a text and makes errors that name file and line. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::sim {

class Lines {
 public:
  Lines(std::string_view text, std::string source) : rest_(text), source_(std::move(source)) {}

  // The next line without its end (LF or CR LF); false at the end of the text.
  bool next(std::string_view& line);
  size_t number() const { return number_; }

  Error error(std::string what, std::string hint) const;  // InvalidArgument "FILE:LINE: what"
  // A whole number of `what` in lowest..highest. Errors: as error().
  Result<int64_t> whole(std::string_view text, std::string_view what, int64_t lowest, int64_t highest) const;
  // A number of seconds or the like, 0..highest, digits with at most one point.
  Result<double> decimal(std::string_view text, std::string_view what, double highest) const;

 private:
  std::string_view rest_;
  std::string source_;
  size_t number_ = 0;
};

// The columns of a CSV header, looked up by name so that files may carry more columns, in any order.
// Fields hold no commas and no quotes: the published traces have none, and others are refused by field count.
class Columns {
 public:
  static Result<Columns> read(Lines& lines, const std::vector<std::string_view>& required);

  // -1 when the file has no such column.
  int index(std::string_view name) const;
  size_t count() const { return names_.size(); }
  // The fields of a line. Errors when their number is not the header's.
  Result<std::vector<std::string_view>> fields(const Lines& lines, std::string_view line) const;

 private:
  std::vector<std::string> names_;
};

}  // namespace tweendeck::sim
