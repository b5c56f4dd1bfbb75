#include <array>
#include <cstdio>
#include <memory>

#include "base/clock.h"
#include "bench/placement/measure.h"
#include "bench/placement/runs.h"
#include "placement/engine.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::bench {
namespace {

using namespace placement;

constexpr uint64_t kFillPercent = 100;

enum Kind : size_t { kSubmit, kConfirm, kWithdraw, kKinds };
constexpr std::array<const char*, kKinds> kNames = {"submit", "confirm", "withdraw"};

// How long the policy within the engine works.
class Watched final : public Policy {
 public:
  explicit Watched(std::unique_ptr<Policy> inner) : inner_(std::move(inner)) {}
  std::string_view name() const override { return inner_->name(); }
  void arrived(ShapeId shape) override {
    const Look look(*this);
    inner_->arrived(shape);
  }
  void departed(ShapeId shape) override {
    const Look look(*this);
    inner_->departed(shape);
  }
  std::optional<Choice> choose(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) override {
    const Look look(*this);
    return inner_->choose(cluster, shape, narrowing);
  }
  void settle(const Cluster& cluster) override { inner_->settle(cluster); }
  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) override {
    return inner_->terms(cluster, shape, spot);
  }

  double us = 0;       // since it was set to 0
  uint32_t looks = 0;  // likewise

 private:
  struct Look {
    explicit Look(Watched& by) : watched(by) {}
    ~Look() {
      watched.us += std::chrono::duration<double, std::micro>(Ticks::now() - begin).count();
      ++watched.looks;
    }
    Watched& watched;
    Ticks::time_point begin = Ticks::now();
  };
  std::unique_ptr<Policy> inner_;
};

struct Measured {
  Steps apply;   // until the decisions are out
  Steps policy;  // of that
  Steps rest;    // of that, too: the engine and the book
  Steps settle;  // afterwards
};

class World {
 public:
  World(const Trace& trace, const Trace::Run& run, uint32_t copies) : trace_(trace), random_(run.seed) {
    auto watched = std::make_unique<Watched>(std::move(*make_policy({"fragmentation", {}})));
    watched_ = watched.get();
    engine_ = std::make_unique<Engine>(std::move(watched));
    const Cluster cluster = make_cluster(trace, run, copies);
    for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) send(NodePut{cluster.facts(node)});
    for (uint32_t i = 0; i < trace.pods.size(); ++i) send(ShapeDefined{i, trace.pods[i]});
  }

  void replay(const Trace::Run& run, uint32_t copies, std::array<Measured, kKinds>& measured) {
    uint64_t total = 0;
    for (const NodeFacts& node : trace_.nodes)
      total += node.devices.size() * uint64_t{kWholeCompute} * copies;
    uint64_t asked = 0;
    for (size_t i = 0; i < run.arrivals.size() * copies; ++i) {
      const uint32_t pod = run.arrivals[i % run.arrivals.size()];
      asked += uint64_t{trace_.pods[pod].devices} * trace_.pods[pod].compute_permille;
      if (asked * 100 > total * kFillPercent && !bound_.empty()) {
        const size_t which = random_.below(bound_.size());
        const ClaimId claim = bound_[which];
        bound_[which] = bound_.back();
        bound_.pop_back();
        step(ClaimWithdrawn{claim, ++now_}, measured[kWithdraw]);
        confirm(measured[kConfirm]);
      }
      step(ClaimSubmitted{.claim = ++claims_, .shape = pod, .time_ms = ++now_}, measured[kSubmit]);
      confirm(measured[kConfirm]);
    }
  }

  size_t events() const { return events_; }
  size_t pending() const { return engine_->pending(); }

 private:
  void send(const Event& event) {
    out_.clear();
    if (const Status ok = engine_->apply(event, out_); !ok) {
      std::fprintf(stderr, "%s\n", ok.error().message.c_str());
      std::exit(1);
    }
  }

  void step(const Event& event, Measured& measured) {
    ++events_;
    watched_->us = 0;
    watched_->looks = 0;
    const auto begin = Ticks::now();
    send(event);
    const auto out = Ticks::now();
    engine_->settle();
    measured.settle.add(Ticks::now() - out);
    // What the looks into the policy cost belongs to nobody: each is within itself once and around itself once.
    const double looks = watched_->looks * cost_of_looking();
    const double apply = std::chrono::duration<double, std::micro>(out - begin).count() - 2 * looks;
    const double policy = watched_->us - looks;
    measured.apply.add(apply);
    measured.policy.add(policy + cost_of_looking());
    measured.rest.add(apply - policy);
    for (const ClaimDecision& decision : out_) {
      if (decision.verdict == Verdict::Placed) to_bind_.push_back({decision.claim, decision.reservation, 0});
    }
  }

  void confirm(Measured& measured) {
    while (!to_bind_.empty()) {
      BindConfirmed event = to_bind_.back();
      to_bind_.pop_back();
      event.time_ms = ++now_;
      bound_.push_back(event.claim);
      step(event, measured);
    }
  }

  const Trace& trace_;
  Random random_;
  Watched* watched_ = nullptr;
  std::unique_ptr<Engine> engine_;
  std::vector<ClaimDecision> out_;
  std::vector<BindConfirmed> to_bind_;
  std::vector<ClaimId> bound_;
  ClaimId claims_ = 0;
  int64_t now_ = 0;
  size_t events_ = 0;
};

}  // namespace

void run_engine(const Trace& trace, const Trace::Run& run, const Options& options) {
  std::array<Measured, kKinds> measured;
  size_t events = 0;
  size_t pending = 0;
  double cpu = 0;
  for (uint32_t repeat = 0; repeat < options.repeats; ++repeat) {
    World world(trace, run, options.copies);
    for (Measured& kind : measured) {
      kind.apply.begin();
      kind.policy.begin();
      kind.rest.begin();
      kind.settle.begin();
    }
    const double begin = cpu_us();
    const size_t before = world.events();
    world.replay(run, options.copies, measured);
    events = world.events() - before;
    pending = world.pending();
    const double took = (cpu_us() - begin) / static_cast<double>(events);
    cpu = repeat == 0 ? took : std::min(cpu, took);
  }
  std::printf(R"({"what":"engine","seed":%u,"nodes":%zu,"events":%zu,"pending":%zu,"cpu_us":%.3f,"kinds":{)",
              run.seed, trace.nodes.size() * options.copies, events, pending, cpu);
  for (size_t kind = 0; kind < kKinds; ++kind) {
    const std::vector<double> apply = measured[kind].apply.medians();
    std::printf(R"(%s"%s":{"count":%zu,"apply_us":%s,"policy_us":%s,"engine_us":%s,"settle_us":%s})",
                kind == 0 ? "" : ",", kNames[kind], apply.size(), distribution(apply).c_str(),
                distribution(measured[kind].policy.medians()).c_str(),
                distribution(measured[kind].rest.medians()).c_str(),
                distribution(measured[kind].settle.medians()).c_str());
  }
  std::printf(R"(},"memory_mib":%ld})"
              "\n",
              peak_memory_mib());
}

}  // namespace tweendeck::bench
