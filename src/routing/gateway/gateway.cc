#include "routing/gateway/gateway.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "routing/gateway/core.h"

namespace tweendeck::routing::gateway {

struct Gateway::Impl {
  Impl(GatewayConfig config_in, RouterConfig router, Registry& registry, const Clock& clock,
       GatewayEvents events)
      : core(std::move(config_in), router, registry, clock, std::move(events), loop), listener(loop) {}

  net::EventLoop loop;
  Core core;
  net::Listener listener;
  std::thread thread;
  uint16_t port = 0;
  std::promise<void> drain_done;
  std::optional<std::future<void>> drained;  // set when the drain has begun

  void drain(Nanos deadline);

  // Runs `work` on the loop and waits for its result. Before start() and after stop() there is no other
  // thread.
  template <class Work>
  auto ask(Work work) -> decltype(work()) {
    if (!thread.joinable() || loop.in_loop()) return work();
    std::promise<decltype(work())> promise;
    loop.post([&] { promise.set_value(work()); });
    return promise.get_future().get();
  }
  void tell(std::function<void()> work) {
    if (!thread.joinable()) return work();
    loop.post(std::move(work));
  }
};

namespace {

struct Secrets {
  ApiKeys keys;
  std::shared_ptr<net::TlsContext> tls;
};

Result<Secrets> load_secrets(const GatewayConfig& config) {
  Secrets secrets;
  std::string place = fmt::format("{}:{}", config.listen.ip, config.listen.port);
  bool loopback = net::is_loopback(config.listen);
  if (!loopback && config.api_keys_file.empty()) {
    return fail(Reason::InvalidArgument,
                fmt::format("{} can be reached from other machines, and no API keys are set", place),
                "give --api-keys FILE, or listen on 127.0.0.1");
  }
  if (config.cert_file.empty() != config.key_file.empty()) {
    return fail(Reason::InvalidArgument, "TLS needs both a certificate and its key",
                "give --cert FILE and --key FILE");
  }
  if (!config.api_keys_file.empty()) {
    auto keys = ApiKeys::load(config.api_keys_file);
    if (!keys) return fail(keys.error());
    secrets.keys = std::move(*keys);
  }
  if (!config.cert_file.empty()) {
    auto tls = net::TlsContext::load(config.cert_file, config.key_file);
    if (!tls) return fail(tls.error());
    secrets.tls = std::move(*tls);
  }
  return secrets;
}

// Whether `held`, which somebody listens on, keeps another from listening on `wanted`.
bool in_the_way(const net::Address& held, const net::Address& wanted) {
  constexpr std::string_view kAny = "0.0.0.0";
  return held.port == wanted.port && (held.ip == wanted.ip || held.ip == kAny || wanted.ip == kAny);
}

}  // namespace

Status Gateway::check(const GatewayConfig& config, const std::optional<net::Address>& ours) {
  if (auto secrets = load_secrets(config); !secrets) return fail(secrets.error());
  if (ours && in_the_way(*ours, config.listen)) return {};
  return net::check_free(config.listen);
}

void Gateway::Impl::drain(Nanos deadline) {
  if (core.session_count() > 0 && core.now() < deadline) {
    loop.after(core.config.sweep_interval, [this, deadline] { drain(deadline); });
    return;
  }
  core.close_all();
  drain_done.set_value();
}

Gateway::Gateway(GatewayConfig config, RouterConfig router, Registry& registry, const Clock& clock,
                 GatewayEvents events)
    : impl_(std::make_unique<Impl>(std::move(config), router, registry, clock, std::move(events))) {}

Gateway::~Gateway() {
  stop(0);
}

Status Gateway::start() {
  Core& core = impl_->core;
  auto secrets = load_secrets(core.config);
  if (!secrets) return fail(secrets.error());
  core.keys = std::move(secrets->keys);
  core.tls = std::move(secrets->tls);
  if (core.tls == nullptr && !net::is_loopback(core.config.listen)) {
    log::warning("Keys and prompts travel unencrypted",
                 {{"reason", Reason::TlsOff},
                  {"listen", fmt::format("{}:{}", core.config.listen.ip, core.config.listen.port)}});
  }
  if (auto ok = impl_->loop.open(); !ok) return ok;
  auto ok = impl_->listener.open(core.config.listen, [&core](net::Fd fd) { core.accept(std::move(fd)); });
  if (!ok) return ok;
  impl_->port = impl_->listener.port();
  impl_->loop.every(core.config.sweep_interval, [&core] { core.sweep(); });
  impl_->thread = std::thread([loop = &impl_->loop] { loop->run(); });
  return {};
}

void Gateway::refuse_new() {
  impl_->tell([core = &impl_->core] { core->refuse_new(); });
}

void Gateway::begin_drain(Nanos limit) {
  if (!impl_->thread.joinable() || impl_->drained) return;
  impl_->drained = impl_->drain_done.get_future();
  impl_->loop.post([impl = impl_.get(), limit] {
    impl->listener.close();
    impl->core.begin_drain();
    impl->drain(impl->core.now() + limit);
  });
}

bool Gateway::wait_drained(Nanos timeout) {
  if (!impl_->thread.joinable() || !impl_->drained) return true;
  return impl_->drained->wait_for(std::chrono::nanoseconds(timeout)) == std::future_status::ready;
}

void Gateway::stop(Nanos drain) {
  if (!impl_->thread.joinable()) return;
  begin_drain(drain);
  impl_->drained->wait();
  impl_->loop.stop();
  impl_->thread.join();
}

uint16_t Gateway::port() const {
  return impl_->port;
}

void Gateway::publish(const Endpoint& endpoint) {
  impl_->tell([core = &impl_->core, endpoint] { core->publish(endpoint); });
}

void Gateway::remove(const std::string& id) {
  impl_->tell([core = &impl_->core, id] { core->remove(id); });
}

void Gateway::set_load(const std::string& id, const EndpointLoad& load) {
  impl_->tell([core = &impl_->core, id, load] { core->set_load(id, load); });
}

void Gateway::clear_cache(const std::string& id) {
  impl_->tell([core = &impl_->core, id] { core->router.clear_cache(id); });
}

uint32_t Gateway::in_flight(const std::string& id) {
  return impl_->ask([&] { return impl_->core.in_flight(id); });
}

std::vector<Router::EndpointView> Gateway::endpoints() {
  return impl_->ask([&] { return impl_->core.router.endpoints(); });
}

std::vector<Gateway::QueueView> Gateway::queues() {
  return impl_->ask([&] { return impl_->core.queues(); });
}

net::EventLoop& Gateway::loop() {
  return impl_->loop;
}

}  // namespace tweendeck::routing::gateway
