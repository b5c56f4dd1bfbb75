// What the node does for borrowers: a round reads what slices do from their pages, asks device/borrowing.h who may use
// how much, and writes it into their limits pages.
#pragma once

#include <string>
#include <vector>

#include "device/borrowing.h"
#include "device/providers/nvml/slice_pages.h"

namespace tweendeck::bench {

class Lending {
 public:
  static constexpr Nanos kPeriod = device::kBorrowPeriod;

  // Slices of one device, for as long as their pages are there.
  Lending(const device::nvml::SlicePages& pages, const std::vector<std::string>& slice_ids);
  ~Lending();
  Lending(const Lending&) = delete;
  Lending& operator=(const Lending&) = delete;

  void round(Nanos now);

 private:
  struct Pages {
    std::string id;
    tw_vgpu_limits_page* limits;
    const tw_vgpu_usage_page* usage;
  };
  std::vector<Pages> slices_;
  device::Borrowing borrowing_;
};

}  // namespace tweendeck::bench
