#include "placement/policy/fragmentation/cutting_stock.h"

#include <algorithm>

namespace tweendeck::placement::fragmentation {
namespace {

// Far above what real mixes need (about 3 per size); prices are usable whenever it stops.
constexpr uint32_t kMaxColumns = 400;
constexpr double kReducedCost = 1e-7;
constexpr double kPivot = 1e-9;

// Worth of every rest under these prices, and the last slice of the best filling (-1 = the unit stays empty).
struct Fillings {
  std::array<double, kStockUnits + 1> worth{};
  std::array<int, kStockUnits + 1> last{};
};

Fillings fill(std::span<const SizeDemand> demand, const std::vector<double>& price) {
  Fillings fillings;
  fillings.last[0] = -1;
  for (uint32_t rest = 1; rest <= kStockUnits; ++rest) {
    fillings.worth[rest] = fillings.worth[rest - 1];
    fillings.last[rest] = -1;
    for (size_t j = 0; j < demand.size(); ++j) {
      if (demand[j].units > rest) continue;
      const double worth = fillings.worth[rest - demand[j].units] + price[j];
      if (worth > fillings.worth[rest] + kPivot) {
        fillings.worth[rest] = worth;
        fillings.last[rest] = static_cast<int>(j);
      }
    }
  }
  return fillings;
}

// The revised simplex method with an explicit inverse: a row per size, at most kStockUnits - 1 of them.
class Program {
 public:
  explicit Program(std::span<const SizeDemand> demand)
      : demand_(demand),
        rows_(demand.size()),
        inverse_(rows_ * rows_, 0.0),
        used_(rows_),
        price_(rows_),
        column_(rows_),
        entering_(rows_) {
    for (size_t i = 0; i < rows_; ++i) {  // first basis: devices with one size only
      const double per_device = kStockUnits / demand[i].units;
      inverse_[i * rows_ + i] = 1.0 / per_device;
      used_[i] = static_cast<double>(demand[i].count) / per_device;
    }
  }

  const std::vector<double>& solve() {
    for (uint32_t round = 0; round < kMaxColumns; ++round) {
      update_prices();
      const Fillings fillings = fill(demand_, price_);
      if (fillings.worth[kStockUnits] <= 1.0 + kReducedCost || !enter(fillings)) break;
    }
    return price_;
  }

 private:
  void update_prices() {
    for (size_t j = 0; j < rows_; ++j) {
      price_[j] = 0;
      for (size_t i = 0; i < rows_; ++i) price_[j] += inverse_[i * rows_ + j];
      price_[j] = std::max(price_[j], 0.0);
    }
  }

  bool enter(const Fillings& fillings) {
    std::ranges::fill(column_, 0.0);
    for (uint32_t rest = kStockUnits; rest > 0;) {
      const int last = fillings.last[rest];
      if (last < 0) {
        --rest;
        continue;
      }
      column_[static_cast<size_t>(last)] += 1;
      rest -= demand_[static_cast<size_t>(last)].units;
    }
    size_t leaving = rows_;
    double step = 0;
    for (size_t i = 0; i < rows_; ++i) {
      entering_[i] = 0;
      for (size_t j = 0; j < rows_; ++j) entering_[i] += inverse_[i * rows_ + j] * column_[j];
      if (entering_[i] <= kPivot) continue;
      const double ratio = used_[i] / entering_[i];
      if (leaving == rows_ || ratio < step) {
        step = ratio;
        leaving = i;
      }
    }
    if (leaving == rows_) return false;
    pivot(leaving, step);
    return true;
  }

  void pivot(size_t leaving, double step) {
    for (size_t i = 0; i < rows_; ++i) {
      if (i != leaving) used_[i] -= step * entering_[i];
    }
    used_[leaving] = step;
    const double divisor = entering_[leaving];
    for (size_t j = 0; j < rows_; ++j) inverse_[leaving * rows_ + j] /= divisor;
    for (size_t i = 0; i < rows_; ++i) {
      if (i == leaving || entering_[i] == 0) continue;
      for (size_t j = 0; j < rows_; ++j)
        inverse_[i * rows_ + j] -= entering_[i] * inverse_[leaving * rows_ + j];
    }
  }

  std::span<const SizeDemand> demand_;
  size_t rows_;
  std::vector<double> inverse_;
  std::vector<double> used_;
  std::vector<double> price_;
  std::vector<double> column_;
  std::vector<double> entering_;
};

uint16_t thousandths(double worth) {
  return static_cast<uint16_t>(std::clamp(worth, 0.0, 1.0) * 1000 + 0.5);
}

}  // namespace

RestPrices price_rests(std::span<const SizeDemand> demand) {
  RestPrices prices;
  if (!demand.empty()) {
    Program program(demand);
    const std::vector<double>& price = program.solve();
    const Fillings fillings = fill(demand, price);
    for (uint32_t rest = 0; rest <= kStockUnits; ++rest)
      prices.rest[rest] = thousandths(fillings.worth[rest]);
    prices.size = prices.rest;
    for (size_t j = 0; j < demand.size(); ++j) prices.size[demand[j].units] = thousandths(price[j]);
  }
  prices.rest[kStockUnits] = 1000;
  prices.size[kStockUnits] = 1000;
  return prices;
}

}  // namespace tweendeck::placement::fragmentation
