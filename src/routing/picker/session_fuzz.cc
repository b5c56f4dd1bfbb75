// Any messages of a proxy, in any order: no crash, no leak, no account that stays, no piece over the limit. The input
// is a row of messages, each after one byte that gives its size; the top bit of the size says that it is kept whole.
#include "routing/picker/session.h"

namespace {

using namespace tweendeck;
using namespace tweendeck::routing;
using namespace tweendeck::routing::picker;

class Proxy final : public ToProxy {
  void send(const net::ProtoWriter&, std::shared_ptr<const std::string> owner,
            std::string_view body) override {
    if (over_ || body.size() > kMaxBodyChunk || (!body.empty() && owner == nullptr)) __builtin_trap();
  }
  void finish() override { over_ = true; }
  void fail(std::string_view) override { over_ = true; }
  size_t unsent() const override { return 0; }
  void pause(bool) override {}
  bool over_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  PickerConfig config;
  config.fallbacks = 1;
  config.test_selection = true;
  config.max_hold_bytes = 64;
  config.max_body_bytes = 512;
  Registry registry;
  ManualClock clock(kSecond);
  PickerMetrics metrics(registry, "fuzz");
  Pool pool(config, RouterConfig{.max_index_entries = 64}, clock, metrics);
  std::vector<Endpoint> endpoints(2);
  for (size_t i = 0; i < endpoints.size(); ++i) {
    endpoints[i].id = std::to_string(i);
    endpoints[i].address = "10.0.0.1";
    endpoints[i].port = static_cast<uint16_t>(8000 + i);
    endpoints[i].state = EndpointState::Ready;
    endpoints[i].max_in_flight = 1;
  }
  pool.set_endpoints(endpoints);
  {
    Proxy proxy;
    Session session(pool, proxy);
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    while (!rest.empty()) {
      const auto head = static_cast<uint8_t>(rest.front());
      const std::string_view message = rest.substr(1, head & 0x7f);
      rest.remove_prefix(1 + message.size());
      if (head & 0x80) {
        session.on_message(net::http2::GrpcMessage(std::make_shared<const std::string>(message)));
      } else {
        session.on_message(net::http2::GrpcMessage(message));
      }
      clock.advance(30 * kSecond);
      pool.sweep();
    }
    session.on_half_close();
  }
  if (pool.router().in_flight() != 0) __builtin_trap();
  return 0;
}
