#include "placement/queue/water_fill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/clock.h"

namespace tweendeck::placement {
namespace {

constexpr int kCases = 20'000;

// Slow and obvious: rounds in which everybody who could be filled with an equal level is filled, until nobody can;
// then the rest by largest remainder.
std::vector<int64_t> by_rounds(int64_t amount, const std::vector<Want>& wants) {
  std::vector<int64_t> parts(wants.size());
  int64_t left = amount;
  for (size_t i = 0; i < wants.size(); ++i) {
    parts[i] = std::min(wants[i].guaranteed, wants[i].request);
    left -= parts[i];
  }
  std::vector<size_t> open;
  for (size_t i = 0; i < wants.size(); ++i) {
    if (wants[i].weight > 0 && wants[i].request > parts[i]) open.push_back(i);
  }
  for (bool again = true; again;) {
    again = false;
    int64_t weights = 0;
    for (size_t i : open) weights += static_cast<int64_t>(wants[i].weight);
    const int64_t level = left;
    for (size_t k = 0; k < open.size(); ++k) {
      const size_t i = open[k];
      const int64_t need = wants[i].request - parts[i];
      if (need * weights > level * static_cast<int64_t>(wants[i].weight)) continue;
      parts[i] += need;
      left -= need;
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(k));
      again = true;
      break;
    }
    if (again) continue;
    std::vector<std::pair<int64_t, size_t>> remainders;
    int64_t rest = left;
    for (size_t i : open) {
      const int64_t product = left * static_cast<int64_t>(wants[i].weight);
      parts[i] += product / weights;
      rest -= product / weights;
      remainders.emplace_back(-(product % weights), i);
    }
    std::ranges::sort(remainders);
    for (int64_t k = 0; k < rest && !open.empty(); ++k) ++parts[remainders[static_cast<size_t>(k)].second];
  }
  return parts;
}

std::vector<Want> random_wants(Random& random) {
  std::vector<Want> wants(random.below(9));
  for (Want& w : wants) {
    w.guaranteed = static_cast<int64_t>(random.below(10));
    w.request = static_cast<int64_t>(random.below(30));
    w.weight = random.below(5);
  }
  return wants;
}

int64_t guarantees(const std::vector<Want>& wants) {
  int64_t sum = 0;
  for (const Want& w : wants) sum += std::min(w.guaranteed, w.request);
  return sum;
}

TEST(WaterFill, AgreesWithRounds) {
  Random random(1);
  for (int i = 0; i < kCases; ++i) {
    const std::vector<Want> wants = random_wants(random);
    const int64_t amount = guarantees(wants) + static_cast<int64_t>(random.below(60));
    std::vector<int64_t> parts(wants.size());
    water_fill(amount, wants, parts);
    ASSERT_EQ(parts, by_rounds(amount, wants)) << "case " << i;
  }
}

TEST(WaterFill, NeverMoreThanThereIsAndNobodyBelowItsGuaranteeLoses) {
  Random random(2);
  for (int i = 0; i < kCases; ++i) {
    const std::vector<Want> wants = random_wants(random);
    const auto amount = static_cast<int64_t>(random.below(80));
    std::vector<int64_t> parts(wants.size());
    water_fill(amount, wants, parts);
    ASSERT_LE(std::accumulate(parts.begin(), parts.end(), int64_t{0}), amount);
    bool hungry = false;
    for (size_t k = 0; k < wants.size(); ++k) {
      ASSERT_LE(parts[k], wants[k].request);
      ASSERT_GE(parts[k], 0);
      if (guarantees(wants) <= amount) {
        ASSERT_GE(parts[k], std::min(wants[k].guaranteed, wants[k].request));
      }
      hungry |= wants[k].weight > 0 && parts[k] < wants[k].request;
    }
    if (hungry && guarantees(wants) <= amount) {
      ASSERT_EQ(std::accumulate(parts.begin(), parts.end(), int64_t{0}), amount) << "something is left";
    }
  }
}

TEST(WaterFill, MoreWeightNeverMeansLess) {
  Random random(3);
  for (int i = 0; i < kCases; ++i) {
    std::vector<Want> wants = random_wants(random);
    if (wants.empty()) continue;
    const auto amount = static_cast<int64_t>(random.below(80));
    std::vector<int64_t> before(wants.size()), after(wants.size());
    water_fill(amount, wants, before);
    const size_t lucky = random.below(wants.size());
    wants[lucky].weight += 1 + random.below(3);
    water_fill(amount, wants, after);
    ASSERT_GE(after[lucky], before[lucky]) << "case " << i;
  }
}

TEST(WaterFill, BytesOfAWholeClusterDoNotOverflow) {
  const int64_t amount = int64_t{1} << 60;
  std::vector<Want> wants(1000);
  for (size_t i = 0; i < wants.size(); ++i) wants[i] = {amount / 4, amount, kMaxWeight - i};
  std::vector<int64_t> parts(wants.size());
  water_fill(amount, wants, parts);
  EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), int64_t{0}), amount);
  for (Want& w : wants) w.guaranteed = 0;
  water_fill(amount, wants, parts);
  EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), int64_t{0}), amount);
}

}  // namespace
}  // namespace tweendeck::placement
