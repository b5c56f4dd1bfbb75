#include "placement/policy/make_policy.h"

#include <array>
#include <string_view>

#include "base/text.h"
#include "placement/policy/fgd.h"
#include "placement/policy/fragmentation/fragmentation.h"
#include "placement/policy/hami.h"
#include "placement/policy/usage.h"

namespace tweendeck::placement {
namespace {

using Weights = std::vector<std::pair<std::string_view, int64_t*>>;

Status read_weights(const PolicySettings& settings, const Weights& known) {
  for (const auto& [name, value] : settings.weights) {
    int64_t* target = nullptr;
    std::vector<std::string> names;
    for (const auto& [word, place] : known) {
      if (word == name) target = place;
      names.emplace_back(word);
    }
    if (target == nullptr) {
      return fail(Reason::InvalidArgument, "policy " + settings.name + " has no weight '" + name + "'",
                  names.empty() ? "it takes no weights" : "it has " + join(names, ", "));
    }
    if (value < 0 || value > kMaxPolicyWeight) {
      return fail(Reason::InvalidArgument,
                  "weight '" + name + "' of policy " + settings.name + " is " + std::to_string(value),
                  "thousandths between 0 and " + std::to_string(kMaxPolicyWeight));
    }
    *target = value;
  }
  return {};
}

template <class Scorer>
std::unique_ptr<Policy> indexed(Scorer scorer) {
  return std::make_unique<IndexedPolicy<Scorer>>(std::move(scorer));
}

// Claims that say how they want to be put get that.
class Preferring final : public Policy {
 public:
  explicit Preferring(std::unique_ptr<Policy> main) : main_(std::move(main)) {}
  std::string_view name() const override { return main_->name(); }
  void arrived(ShapeId shape) override { main_->arrived(shape); }
  void departed(ShapeId shape) override { main_->departed(shape); }
  std::optional<Choice> choose(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) override {
    return policy_for(cluster, shape).choose(cluster, shape, narrowing);
  }
  void settle(const Cluster& cluster) override { main_->settle(cluster); }
  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) override {
    return policy_for(cluster, shape).terms(cluster, shape, spot);
  }

 private:
  Policy& policy_for(const Cluster& cluster, ShapeId shape) {
    const Prefer prefer = cluster.shape(shape).request.prefer;
    if (prefer == Prefer::Pack) return pack_;
    if (prefer == Prefer::Spread) return spread_;
    return *main_;
  }

  std::unique_ptr<Policy> main_;
  IndexedPolicy<UsageScorer> pack_{UsageScorer(true, {})};
  IndexedPolicy<UsageScorer> spread_{UsageScorer(false, {})};
};

Result<std::unique_ptr<Policy>> make_hami(const PolicySettings& settings) {
  const std::string_view name = settings.name;
  HamiWeights weights;
  if (Status ok = read_weights(
          settings, {{"slot", &weights.slot}, {"core", &weights.core}, {"memory", &weights.memory}});
      !ok) {
    return fail(ok.error());
  }
  std::string_view levels = "binpack/spread";
  if (name != "hami") levels = name.substr(std::string_view("hami:").size());
  const size_t slash = levels.find('/');
  if (slash == std::string_view::npos) {
    return fail(Reason::InvalidArgument, "policy '" + settings.name + "' does not name two levels",
                "write hami:<node>/<devices>, for example hami:binpack/mutex,binpack,numa");
  }
  Result<HamiScorer> scorer = HamiScorer::make(levels.substr(0, slash), levels.substr(slash + 1), weights);
  if (!scorer) return fail(scorer.error());
  return indexed(std::move(*scorer));
}

Result<std::unique_ptr<Policy>> make_main(const PolicySettings& settings) {
  const std::string& name = settings.name;
  if (name == "fragmentation") {
    if (Status ok = read_weights(settings, {}); !ok) return fail(ok.error());
    return std::make_unique<FragmentationPolicy>();
  }
  if (name == "binpack" || name == "spread") {
    UsageWeights weights;
    if (Status ok = read_weights(
            settings, {{"compute", &weights.compute}, {"memory", &weights.memory}, {"cpu", &weights.cpu}});
        !ok) {
      return fail(ok.error());
    }
    return indexed(UsageScorer(name == "binpack", weights));
  }
  if (name == "fgd") {
    if (Status ok = read_weights(settings, {}); !ok) return fail(ok.error());
    return indexed(FgdScorer());
  }
  if (name == "hami" || name.starts_with("hami:")) return make_hami(settings);
  const std::string_view near = nearest(name, {"fragmentation", "binpack", "spread", "fgd", "hami"});
  return fail(Reason::InvalidArgument, "there is no placement policy '" + name + "'",
              near.empty() ? "use fragmentation, binpack, spread, fgd or hami"
                           : "did you mean " + std::string(near) + "?");
}

}  // namespace

Result<std::unique_ptr<Policy>> make_policy(const PolicySettings& settings) {
  Result<std::unique_ptr<Policy>> main = make_main(settings);
  if (!main) return main;
  return std::make_unique<Preferring>(std::move(*main));
}

}  // namespace tweendeck::placement
