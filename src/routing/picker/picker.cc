#include "routing/picker/picker.h"

#include <fmt/format.h>

#include <future>
#include <thread>
#include <utility>

#include "base/log.h"
#include "net/http2/server.h"
#include "net/page_server.h"
#include "routing/picker/names.h"
#include "routing/picker/pool.h"
#include "routing/picker/session.h"

namespace tweendeck::routing::picker {
namespace {

// What probes of the health service ask for, here and in llm-d's manifests.
constexpr char kLiveness[] = "liveness";
constexpr char kReadiness[] = "readiness";
constexpr char kManifestName[] = "inference-extension";

// A Session on a gRPC call.
class ProcessCall final : public net::http2::GrpcHandler, ToProxy {
 public:
  ProcessCall(Pool& pool, net::http2::GrpcCall& call) : call_(call), session_(pool, *this) {}

 private:
  void on_message(const net::http2::GrpcMessage& message) override { session_.on_message(message); }
  void on_half_close() override { session_.on_half_close(); }
  void on_drained() override { session_.on_drained(); }
  void on_closed() override { session_.on_closed(); }

  void send(const net::ProtoWriter& message, std::shared_ptr<const std::string> owner,
            std::string_view body) override {
    call_.send(message.head(), std::move(owner), body, message.tail());
  }
  void finish() override { call_.finish(net::http2::GrpcStatus::Ok); }
  void fail(std::string_view message) override {
    call_.finish(net::http2::GrpcStatus::InvalidArgument, message);
  }
  size_t unsent() const override { return call_.unsent(); }
  void pause(bool paused) override { call_.pause(paused); }

  net::http2::GrpcCall& call_;
  Session session_;
};

Result<std::shared_ptr<net::TlsContext>> load_tls(const PickerConfig& config) {
  if (config.cert_file.empty() && config.key_file.empty()) return std::shared_ptr<net::TlsContext>();
  if (config.cert_file.empty() || config.key_file.empty()) {
    return tweendeck::fail(Reason::InvalidArgument, "TLS needs both a certificate and its key",
                           "give --cert FILE and --key FILE");
  }
  auto tls = net::TlsContext::load(config.cert_file, config.key_file);
  if (tls) (*tls)->offer_protocol("h2");
  return tls;
}

}  // namespace

struct Picker::Impl {
  Impl(PickerConfig config_in, RouterConfig router, Registry& registry, const Clock& clock_in)
      : config(std::move(config_in)),
        clock(clock_in),
        metrics(registry, config.pool_name),
        pool(config, router, clock, metrics),
        server(loop, config.http2, clock),
        pages(loop) {
    pages.add("/metrics", "text/plain; version=0.0.4; charset=utf-8",
              [&registry] { return registry.expose(); });
    server.offer(std::string(kProcessMethod),
                 [this](net::http2::GrpcCall& call) { return std::make_unique<ProcessCall>(pool, call); });
  }

  void set_ready(bool ready) {
    for (const char* service : {kReadiness, kManifestName, ""}) server.health().set(service, ready);
    server.health().set(std::string(kProcessService), ready);
  }
  // Runs `work` on the loop, or here while there is no other thread.
  void tell(std::function<void()> work) {
    if (!thread.joinable()) return work();
    loop.post(std::move(work));
  }
  void drain(Nanos deadline) {
    if (server.calls() > 0 && clock.now() < deadline) {
      loop.after(config.sweep_interval, [this, deadline] { drain(deadline); });
      return;
    }
    pool.refuse_all();
    // What was said last goes out in the loop's next turn.
    loop.after(config.sweep_interval, [this] {
      server.close_all();
      pages.close();
      loop.stop();
    });
  }

  const PickerConfig config;
  const Clock& clock;
  net::EventLoop loop;
  PickerMetrics metrics;
  Pool pool;
  net::http2::GrpcServer server;
  net::PageServer pages;
  std::thread thread;
  uint16_t port = 0, health_port = 0, metrics_port = 0;
};

Picker::Picker(PickerConfig config, RouterConfig router, Registry& registry, const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(config), router, registry, clock)) {}

Picker::~Picker() {
  stop(0);
}

Status Picker::start() {
  const PickerConfig& config = impl_->config;
  Result<std::shared_ptr<net::TlsContext>> tls = load_tls(config);
  if (!tls) return tweendeck::fail(tls.error());
  if (*tls == nullptr && !net::is_loopback(config.listen)) {
    log::warning(
        "Prompts travel unencrypted",
        {{"reason", Reason::TlsOff}, {"listen", fmt::format("{}:{}", config.listen.ip, config.listen.port)}});
  }
  if (Status opened = impl_->loop.open(); !opened) return opened;
  Result<uint16_t> port = impl_->server.listen(config.listen, *tls);
  if (!port) return tweendeck::fail(port.error());
  Result<uint16_t> health_port = impl_->server.listen(config.health_listen, nullptr);
  if (!health_port) return tweendeck::fail(health_port.error());
  Result<uint16_t> metrics_port = impl_->pages.listen(config.metrics_listen);
  if (!metrics_port) return tweendeck::fail(metrics_port.error());
  impl_->port = *port;
  impl_->health_port = *health_port;
  impl_->metrics_port = *metrics_port;
  impl_->server.health().set(kLiveness, true);
  impl_->set_ready(true);
  impl_->loop.every(config.sweep_interval, [pool = &impl_->pool] { pool->sweep(); });
  impl_->thread = std::thread([loop = &impl_->loop] { loop->run(); });
  return {};
}

void Picker::stop(Nanos limit) {
  if (!impl_->thread.joinable()) return;
  impl_->loop.post([impl = impl_.get(), limit] {
    impl->set_ready(false);
    impl->server.begin_drain();
    impl->drain(impl->clock.now() + limit);
  });
  impl_->thread.join();
}

void Picker::set_endpoints(std::vector<Endpoint> endpoints) {
  impl_->tell(
      [impl = impl_.get(), endpoints = std::move(endpoints)] { impl->pool.set_endpoints(endpoints); });
}

void Picker::set_load(const std::string& endpoint_id, const EndpointLoad& load) {
  impl_->tell([impl = impl_.get(), endpoint_id, load] { impl->pool.set_load(endpoint_id, load); });
}

uint16_t Picker::port() const {
  return impl_->port;
}

uint16_t Picker::health_port() const {
  return impl_->health_port;
}

uint16_t Picker::metrics_port() const {
  return impl_->metrics_port;
}

net::EventLoop& Picker::loop() {
  return impl_->loop;
}

}  // namespace tweendeck::routing::picker
