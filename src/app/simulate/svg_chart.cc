#include "app/simulate/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace tweendeck::simulate {

namespace {

constexpr double kWidth = 760, kHeight = 430;
constexpr double kLeft = 62, kRight = 150, kTop = 44, kBottom = 52;
constexpr double kLineHeight = 15;  // of names beside the lines
constexpr int kTicks = 8;           // about so many per axis
// Okabe and Ito's colours, which people with colour blindness can tell apart; the dash pattern helps in print.
constexpr std::array<std::string_view, 7> kColors = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                     "#56B4E9", "#B08900", "#444444"};
constexpr std::array<std::string_view, 3> kDashes = {"", "6 3", "2 2"};

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

// 1, 2 or 5 times a power of ten.
double round_step(double range) {
  const double rough = range / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10 * power;
}

struct Axis {
  double from = 0, to = 1, step = 1;
  static Axis around(double from, double to) {
    if (to <= from) to = from + 1;
    const double step = round_step(to - from);
    return {std::floor(from / step) * step, std::ceil(to / step) * step, step};
  }
  double part(double value) const { return (value - from) / (to - from); }
};

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart) {
    double low = INFINITY, high = -INFINITY;
    for_each_point([&](double, double y) {
      low = std::min(low, y);
      high = std::max(high, y);
    });
    x_ = {chart.x_from, chart.x_to, round_step(chart.x_to - chart.x_from)};
    y_ = Axis::around(low, high);
  }

  std::string draw() {
    text_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
        kWidth, kHeight);
    write(kLeft, 24, "start", chart_.title, " font-size=\"15\" font-weight=\"bold\"");
    draw_axes();
    for (size_t at = 0; at < chart_.series.size(); ++at) draw_line(at);
    draw_names();
    return text_ + "</svg>\n";
  }

 private:
  template <class Function>
  void for_each_point(Function function) const {
    for (const Series& series : chart_.series)
      for (auto [x, y] : series.points)
        if (x >= chart_.x_from && x <= chart_.x_to && std::isfinite(y)) function(x, y);
  }
  double x_at(double x) const { return kLeft + x_.part(x) * (kWidth - kLeft - kRight); }
  double y_at(double y) const { return kHeight - kBottom - y_.part(y) * (kHeight - kTop - kBottom); }

  void write(double x, double y, std::string_view anchor, std::string_view words,
             std::string_view more = "") {
    text_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor,
                         more, escaped(words));
  }
  void rule(double x1, double y1, double x2, double y2, std::string_view color) {
    text_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n",
                         x1, y1, x2, y2, color);
  }

  void draw_axes() {
    const double bottom = kHeight - kBottom, right = kWidth - kRight;
    // Counted, not added up, so that the last tick is not lost to rounding.
    const int x_ticks = static_cast<int>(std::floor((x_.to - x_.from) / x_.step + 1e-9));
    for (int tick = 0; tick <= x_ticks; ++tick) {
      const double value = x_.from + tick * x_.step;
      write(x_at(value), bottom + 18, "middle", fmt::format("{:g}", value));
      rule(x_at(value), bottom, x_at(value), bottom + 5, "#888");
    }
    const int y_ticks = static_cast<int>(std::lround((y_.to - y_.from) / y_.step));
    for (int tick = 0; tick <= y_ticks; ++tick) {
      const double value = y_.from + tick * y_.step;
      write(kLeft - 8, y_at(value) + 4, "end", fmt::format("{:.6g}", value));
      rule(kLeft, y_at(value), right, y_at(value), "#e4e4e4");
    }
    rule(kLeft, bottom, right, bottom, "#888");
    write((kLeft + right) / 2, kHeight - 12, "middle", chart_.x_label);
    write(0, 0, "middle", chart_.y_label,
          fmt::format(" transform=\"translate(16 {:.1f}) rotate(-90)\"", (kTop + bottom) / 2));
  }

  void draw_line(size_t at) {
    std::string path;
    for (auto [x, y] : chart_.series[at].points) {
      if (x < chart_.x_from || x > chart_.x_to || !std::isfinite(y)) continue;
      path += fmt::format("{:.1f},{:.1f} ", x_at(x), y_at(y));
      if (ends_.size() <= at) ends_.resize(at + 1, {at, 0});
      ends_[at] = {at, y_at(y)};
    }
    if (ends_.size() <= at) ends_.resize(at + 1, {at, kTop});
    const std::string_view dash = kDashes[at % kDashes.size()];
    text_ += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", path,
                         kColors[at % kColors.size()],
                         dash.empty() ? "" : fmt::format(" stroke-dasharray=\"{}\"", dash));
  }

  // Beside the ends of the lines, moved apart where they would overlap.
  void draw_names() {
    std::vector<std::pair<size_t, double>> names = ends_;
    std::ranges::sort(names, {}, &std::pair<size_t, double>::second);
    for (size_t at = 1; at < names.size(); ++at)
      names[at].second = std::max(names[at].second, names[at - 1].second + kLineHeight);
    const double over = names.empty() ? 0 : names.back().second - (kHeight - kBottom);
    for (auto [series, y] : names) {
      const double shown = over > 0 ? y - over : y;
      write(kWidth - kRight + 8, shown + 4, "start", chart_.series[series].name,
            fmt::format(" fill=\"{}\"", kColors[series % kColors.size()]));
    }
  }

  const Chart& chart_;
  Axis x_, y_;
  std::string text_;
  std::vector<std::pair<size_t, double>> ends_;  // by series: where its line ends
};

}  // namespace

std::string render_svg(const Chart& chart) {
  return Drawing(chart).draw();
}

}  // namespace tweendeck::simulate
