// What the simulated engine answers: OpenAI's API, health, version, metrics, LoRA loading. One thread, the
// server's.
//
// A request's answer is known from its prompt, so the service keeps only how many of its tokens exist so far;
// a stream writes them out as its client reads. Needs a Runner to be attached before the first request.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "engine/sim/api.h"
#include "engine/sim/http.h"
#include "engine/sim/runner.h"
#include "engine/sim/sim_metrics.h"

namespace tweendeck::sim {

inline constexpr size_t kMaxQueuedRequests = 4096;
inline constexpr size_t kMaxAdapters = 64;
inline constexpr size_t kMaxAdapterNameBytes = 256;

struct ServiceSettings {
  std::string model_name;  // what requests call it
  std::set<std::string> adapters;
  uint32_t context_tokens = 0;
  uint64_t blocks = 0;
  std::string version;
};

class Service {
 public:
  Service(ServiceSettings settings, Clock& clock);
  ~Service();
  void attach(Runner& runner) { runner_ = &runner; }

  void handle(HttpRequest request, std::shared_ptr<Connection> connection);
  void on_progress(const std::vector<Progress>& progress);

  // Refuses new work from now on; `idle` is called when the last request has ended, at once if there is none.
  void drain(std::function<void()> idle);

 private:
  struct Job;  // one request in the batch
  struct Generation;
  struct Embedding;

  void get(const std::string& path, Connection& connection);
  void post(const HttpRequest& request, const std::shared_ptr<Connection>& connection);
  void generate(ApiResult<Generate> request, const std::shared_ptr<Connection>& connection);
  void embed(ApiResult<Embed> request, const std::shared_ptr<Connection>& connection);
  void change_adapter(const HttpRequest& request, bool load, Connection& connection);
  std::optional<ApiError> check(const std::string& model, uint64_t prompt_tokens) const;
  void submit(const std::shared_ptr<Job>& job, const std::string& model, std::vector<Token> prompt,
              uint32_t output_tokens);
  void forget(RequestId id, bool finished);
  std::string metrics_page();

  ServiceSettings settings_;
  Clock& clock_;
  SimMetrics metrics_;
  Runner* runner_ = nullptr;
  RequestId next_id_ = 1;
  std::unordered_map<RequestId, std::shared_ptr<Job>> jobs_;
  std::function<void()> idle_;  // set while draining
};

}  // namespace tweendeck::sim
