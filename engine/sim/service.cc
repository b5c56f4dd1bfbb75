#include "engine/sim/service.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "base/text.h"

namespace tweendeck::sim {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kPrometheus = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view kEvents = "text/event-stream; charset=utf-8";

double seconds(Nanos duration) {
  return static_cast<double>(duration) / kSecond;
}

void reply_error(Connection& connection, const ApiError& error) {
  connection.reply(error.status, kJson, render_error(error));
}

}  // namespace

struct Service::Job {
  Job(Service& s, std::shared_ptr<Connection> c) : service(s), connection(std::move(c)) {}
  virtual ~Job() = default;
  virtual void advance(const Progress& progress) = 0;

  void abandoned() {
    service.runner_->abort(id);
    service.forget(id, false);
  }

  Service& service;
  std::shared_ptr<Connection> connection;
  RequestId id = 0;
  std::string adapter;  // "" = the base model
  Usage usage;
  Nanos arrived = 0;
  Nanos last_token = 0;
};

struct Service::Generation final : Job, Source {
  using Job::Job;

  void advance(const Progress& progress) override {
    const Nanos now = service.clock_.now();
    if (usage.completion_tokens == 0) {
      service.metrics_.time_to_first_token.observe(seconds(now - arrived));
      service.metrics_.prompt_tokens_cached.add(progress.cached_tokens);
    } else {
      service.metrics_.inter_token_latency.observe(seconds(now - last_token));
    }
    last_token = now;
    service.metrics_.generation_tokens.add(progress.output_tokens - usage.completion_tokens);
    usage.completion_tokens = progress.output_tokens;
    usage.cached_tokens = progress.cached_tokens;
    finished = progress.finished;
    if (stream) return connection->wake();
    if (finished)
      connection->reply(200, kJson, render_answer(answer, text(0, outcome.tokens), outcome.stopped, usage));
  }

  std::string text(uint64_t first, uint64_t count) const {
    std::string out = answer_text(prompt_hash, first, count);
    const uint64_t start = first * kTokenBytes;
    if (start + out.size() > outcome.text_bytes)
      out.resize(outcome.text_bytes > start ? outcome.text_bytes - start : 0);
    return out;
  }

  bool next(std::string& out) override {
    if (usage.completion_tokens > 0 && !begun && answer.chat) out += event_role(answer);
    begun = begun || usage.completion_tokens > 0;
    while (written < usage.completion_tokens && out.size() < kMaxPieceBytes) {
      const std::string piece = text(written++, 1);
      if (!piece.empty()) out += event_text(answer, piece);
    }
    if (!finished || written < usage.completion_tokens) return true;
    out += event_finish(answer, outcome.stopped);
    if (include_usage) out += event_usage(answer, usage);
    out += kEventDone;
    return false;
  }

  void closed() override {
    if (!finished) abandoned();
  }

  AnswerHead answer;
  Outcome outcome;
  uint64_t prompt_hash = 0;
  uint64_t written = 0;  // tokens that the stream has passed on
  bool stream = false;
  bool include_usage = false;
  bool begun = false;
  bool finished = false;
};

struct Service::Embedding final : Job, Pending {
  using Job::Job;

  void advance(const Progress& progress) override {
    if (!progress.finished) return;
    service.metrics_.prompt_tokens_cached.add(progress.cached_tokens);
    connection->reply(200, kJson, render_embeddings(request, usage.prompt_tokens));
  }
  void closed() override { abandoned(); }

  Embed request;
};

Service::Service(ServiceSettings settings, Clock& clock)
    : settings_(std::move(settings)), clock_(clock), metrics_(settings_.model_name, settings_.blocks) {}
Service::~Service() = default;

void Service::handle(HttpRequest request, std::shared_ptr<Connection> connection) {
  if (request.method == "GET") return get(request.path, *connection);
  if (request.method == "POST") return post(request, connection);
  reply_error(*connection, {405, "the method " + request.method + " is not allowed here", {}});
}

void Service::get(const std::string& path, Connection& connection) {
  if (path == "/health") return connection.reply(idle_ ? 503 : 200, kText, "");
  if (path == "/version") {
    return connection.reply(
        200, kJson, fmt::format(R"({{"version":"{}","engine":"{}"}})", settings_.version, kFingerprint));
  }
  if (path == "/metrics") return connection.reply(200, kPrometheus, metrics_page());
  if (path == "/v1/models") {
    const std::vector<std::string> adapters(settings_.adapters.begin(), settings_.adapters.end());
    return connection.reply(
        200, kJson,
        render_models(settings_.model_name, adapters, clock_.wall_now() / kSecond, settings_.context_tokens));
  }
  reply_error(connection, {404, "there is nothing at " + path, {}});
}

void Service::post(const HttpRequest& request, const std::shared_ptr<Connection>& connection) {
  if (idle_) return reply_error(*connection, {503, "the server is stopping", {}});
  if (request.path == "/v1/chat/completions") return generate(parse_chat(request.body), connection);
  if (request.path == "/v1/completions") return generate(parse_completion(request.body), connection);
  if (request.path == "/v1/embeddings") return embed(parse_embed(request.body), connection);
  if (request.path == "/v1/load_lora_adapter") return change_adapter(request, true, *connection);
  if (request.path == "/v1/unload_lora_adapter") return change_adapter(request, false, *connection);
  reply_error(*connection, {404, "there is nothing at " + request.path, {}});
}

std::optional<ApiError> Service::check(const std::string& model, uint64_t prompt_tokens) const {
  if (model != settings_.model_name && !settings_.adapters.contains(model)) {
    return ApiError{404, fmt::format("The model `{}` does not exist.", model), "model"};
  }
  if (prompt_tokens >= settings_.context_tokens) {
    return ApiError{
        400,
        fmt::format("This model's maximum context length is {} tokens. However, your request has {} "
                    "input tokens. Please reduce the length of the input messages.",
                    settings_.context_tokens, prompt_tokens),
        {}};
  }
  if (jobs_.size() >= kMaxQueuedRequests) {
    return ApiError{429, fmt::format("{} requests are queued already", kMaxQueuedRequests), {}};
  }
  return std::nullopt;
}

void Service::generate(ApiResult<Generate> request, const std::shared_ptr<Connection>& connection) {
  if (!request) return reply_error(*connection, request.error());
  const uint64_t prompt_tokens = request->prompt.size();
  if (const auto error = check(request->model, prompt_tokens)) return reply_error(*connection, *error);
  const auto room = static_cast<uint32_t>(settings_.context_tokens - prompt_tokens);
  if (request->max_tokens.value_or(0) > room) {
    return reply_error(*connection,
                       {400,
                        fmt::format("'max_tokens' is too large: {}. This model's maximum context length "
                                    "is {} tokens and your request has {} input tokens.",
                                    *request->max_tokens, settings_.context_tokens, prompt_tokens),
                        "max_tokens"});
  }
  auto job = std::make_shared<Generation>(*this, connection);
  job->prompt_hash = hash_tokens(request->prompt);
  job->outcome = foresee(*request, job->prompt_hash, request->max_tokens.value_or(room));
  job->stream = request->stream;
  job->include_usage = request->include_usage;
  job->answer = {
      fmt::format("{}-{:016x}", request->chat ? "chatcmpl" : "cmpl", mix(job->prompt_hash, next_id_)),
      request->model, clock_.wall_now() / kSecond, request->chat};
  submit(job, request->model, std::move(request->prompt), job->outcome.tokens);
  if (job->stream) {
    connection->stream(kEvents, job);
  } else {
    connection->wait_for(job);
  }
}

// All inputs are computed as one prompt: an embedding needs every token's prefill and no decoding.
void Service::embed(ApiResult<Embed> request, const std::shared_ptr<Connection>& connection) {
  if (!request) return reply_error(*connection, request.error());
  std::vector<Token> tokens;
  for (const auto& input : request->inputs) tokens.insert(tokens.end(), input.begin(), input.end());
  if (const auto error = check(request->model, tokens.size())) return reply_error(*connection, *error);
  auto job = std::make_shared<Embedding>(*this, connection);
  job->request = std::move(*request);
  submit(job, job->request.model, std::move(tokens), 0);
  connection->wait_for(job);
}

void Service::submit(const std::shared_ptr<Job>& job, const std::string& model, std::vector<Token> prompt,
                     uint32_t output_tokens) {
  job->id = next_id_++;
  job->arrived = clock_.now();
  job->adapter = model == settings_.model_name ? "" : model;
  job->usage.prompt_tokens = prompt.size();
  jobs_[job->id] = job;
  BatchRequest request{.id = job->id,
                       .prompt = {},
                       .prompt_hash = hash_tokens(prompt),
                       .cache_salt = 0,
                       .output_tokens = output_tokens};
  if (!job->adapter.empty()) request.cache_salt = std::hash<std::string>{}(job->adapter);
  request.prompt = std::move(prompt);
  runner_->submit(std::move(request));
}

void Service::on_progress(const std::vector<Progress>& progress) {
  for (const Progress& p : progress) {
    const auto found = jobs_.find(p.id);
    if (found == jobs_.end()) continue;  // abandoned meanwhile
    const std::shared_ptr<Job> job = found->second;
    job->advance(p);
    if (!p.finished || !jobs_.contains(p.id)) continue;
    metrics_.prompt_tokens.add(job->usage.prompt_tokens);
    metrics_.e2e_latency.observe(seconds(clock_.now() - job->arrived));
    const auto* generation = dynamic_cast<const Generation*>(job.get());
    metrics_.finished(generation != nullptr && !generation->outcome.stopped ? "length" : "stop");
    forget(p.id, true);
  }
}

void Service::forget(RequestId id, bool finished) {
  if (!finished) metrics_.finished("abort");
  jobs_.erase(id);
  if (jobs_.empty() && idle_) idle_();
}

void Service::drain(std::function<void()> idle) {
  idle_ = std::move(idle);
  if (jobs_.empty()) idle_();
}

void Service::change_adapter(const HttpRequest& request, bool load, Connection& connection) {
  const auto change = parse_lora(request.body);
  if (!change) return reply_error(connection, change.error());
  const bool known = settings_.adapters.contains(change->name);
  if (!load) {
    if (!known)
      return reply_error(connection,
                         {404, fmt::format("The lora adapter '{}' cannot be found.", change->name), {}});
    settings_.adapters.erase(change->name);
    return connection.reply(200, kText,
                            fmt::format("Success: LoRA adapter '{}' removed successfully.", change->name));
  }
  if (known || change->name == settings_.model_name) {
    return reply_error(
        connection, {400, fmt::format("The lora adapter '{}' has already been loaded.", change->name), {}});
  }
  if (settings_.adapters.size() >= kMaxAdapters || change->name.size() > kMaxAdapterNameBytes) {
    return reply_error(connection, {400,
                                    fmt::format("at most {} adapters with names of up to {} bytes",
                                                kMaxAdapters, kMaxAdapterNameBytes),
                                    {}});
  }
  settings_.adapters.insert(change->name);
  connection.reply(200, kText, fmt::format("Success: LoRA adapter '{}' added successfully.", change->name));
}

std::string Service::metrics_page() {
  AdapterUse use;
  use.limit = kMaxAdapters;
  for (const auto& [id, job] : jobs_) {
    if (!job->adapter.empty())
      (job->usage.completion_tokens > 0 ? use.running : use.waiting).insert(job->adapter);
  }
  return metrics_.render(runner_->state(), use, static_cast<double>(clock_.wall_now()) / kSecond);
}

}  // namespace tweendeck::sim
