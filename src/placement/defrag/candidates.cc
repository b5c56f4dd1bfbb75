#include "placement/defrag/candidates.h"

#include <algorithm>

namespace tweendeck::placement {
namespace {

using Index = RunningClaims::Index;
using Known = std::vector<bool>;  // by place in the list of what is wanted: a part of the set would do

class Finder {
 public:
  Finder(Cluster& cluster, NodeIndex node, const Places& places, std::span<const Wanted> wanted)
      : cluster_(cluster), node_(node), places_(places), wanted_(wanted) {}

  void find(std::span<const Index> here) {
    Known none(wanted_.size());
    note({}, none);
    std::vector<Known> one(here.size(), none);
    for (size_t a = 0; a < here.size(); ++a) {
      const Cluster::Mark mark = cluster_.mark();
      give(here[a]);
      note({here[a]}, one[a]);
      cluster_.undo_to(mark);
    }
    for (size_t a = 0; a < here.size(); ++a) {
      for (size_t b = a + 1; b < here.size(); ++b) pair(here, one, a, b);
    }
  }

  std::vector<Candidate> best_last() {
    std::ranges::sort(found_, better);
    if (found_.size() > kCandidatesPerNode) found_.resize(kCandidatesPerNode);
    std::ranges::reverse(found_);
    return std::move(found_);
  }

 private:
  void pair(std::span<const Index> here, const std::vector<Known>& one, size_t a, size_t b) {
    Known two = either(one[a], one[b]);
    const Cluster::Mark mark = cluster_.mark();
    give(here[a]);
    give(here[b]);
    note({here[a], here[b]}, two);
    for (size_t c = b + 1; c < here.size() && here.size() <= kTriplesUpTo; ++c) {
      const Cluster::Mark inner = cluster_.mark();
      Known three = either(two, one[c]);
      give(here[c]);
      note({here[a], here[b], here[c]}, three);
      cluster_.undo_to(inner);
    }
    cluster_.undo_to(mark);
  }

  static Known either(const Known& a, const Known& b) {
    Known both(a.size());
    for (size_t i = 0; i < both.size(); ++i) both[i] = a[i] || b[i];
    return both;
  }

  void give(Index claim) { cluster_.give(places_.spots[claim], places_.running.at(claim).shape); }

  // What fits when these are gone, if it did not before.
  void note(const std::vector<Index>& claims, Known& known) {
    for (size_t w = 0; w < wanted_.size(); ++w) {
      if (wanted_[w].count == 0 || known[w] || !cluster_.fits(node_, wanted_[w].shape)) continue;
      known[w] = true;
      Candidate candidate{w, weight(cluster_, wanted_[w].shape), 0, claims};
      for (const Index claim : claims) candidate.burden += weight(cluster_, places_.running.at(claim).shape);
      found_.push_back(std::move(candidate));
    }
  }

  Cluster& cluster_;
  NodeIndex node_;
  const Places& places_;
  std::span<const Wanted> wanted_;
  std::vector<Candidate> found_;
};

}  // namespace

bool better(const Candidate& a, const Candidate& b) {
  const int64_t left = a.gain * static_cast<int64_t>(std::max<size_t>(b.claims.size(), 1));
  const int64_t right = b.gain * static_cast<int64_t>(std::max<size_t>(a.claims.size(), 1));
  if (a.claims.empty() != b.claims.empty()) return a.claims.empty();
  if (left != right) return left > right;
  if (a.burden != b.burden) return a.burden < b.burden;
  return a.wanted != b.wanted ? a.wanted < b.wanted : a.claims < b.claims;
}

int64_t weight(const Cluster& cluster, ShapeId shape) {
  const Request& request = cluster.shape(shape).request;
  return std::max<int64_t>(int64_t{request.devices} * std::max(request.compute_permille, 1u), 1);
}

std::vector<Candidate> candidates_on(Cluster& cluster, NodeIndex node, std::span<const Index> claims,
                                     const Places& places, std::span<const Wanted> wanted) {
  Finder finder(cluster, node, places, wanted);
  finder.find(claims);
  return finder.best_last();
}

}  // namespace tweendeck::placement
