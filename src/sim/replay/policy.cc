#include "sim/replay/policy.h"

#include <fmt/format.h>

#include <array>

#include "base/text.h"

namespace tweendeck::sim {

namespace {

struct Named {
  std::string_view name;
  std::string_view published;
};
constexpr std::array<Named, 5> kPolicies = {Named{"dotprod", "DotProd"}, Named{"clustering", "GpuClustering"},
                                            Named{"packing", "GpuPacking"}, Named{"bestfit", "BestFit"},
                                            Named{"fgd", "FGD"}};

}  // namespace

const std::vector<std::string_view>& published_policies() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const Named& policy : kPolicies) all.push_back(policy.name);
    return all;
  }();
  return names;
}

std::string_view published_name(std::string_view policy) {
  for (const Named& known : kPolicies)
    if (known.name == policy) return known.published;
  return {};
}

Result<std::unique_ptr<Policy>> make_policy(std::string_view name, const std::vector<TypicalPod>& typical) {
  if (name == "dotprod") return make_dot_product();
  if (name == "clustering") return make_clustering();
  if (name == "packing") return make_packing();
  if (name == "bestfit") return make_best_fit();
  if (name == "fgd") return make_fgd(typical);
  std::string_view meant = nearest(name, published_policies());
  return fail(Reason::NotFound, fmt::format("no policy {}", json_quote(name)),
              meant.empty() ? "" : fmt::format("did you mean {}?", meant));
}

}  // namespace tweendeck::sim
