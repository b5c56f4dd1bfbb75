// A small line chart as SVG text: axes with round ticks, one line per series, names beside the line ends. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tweendeck::simulate {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x ascending
};

struct Chart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<Series> series;   // at least one with a point
  double x_from = 0, x_to = 1;  // points outside are left out
};

std::string render_svg(const Chart& chart);

}  // namespace tweendeck::simulate
