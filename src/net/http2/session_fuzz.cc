// Any bytes after the preface: no crash, no leak, and what the server says back is bounded. The first byte of the
// input chooses how the rest is cut into pieces.
#include "net/http2/grpc.h"
#include "net/http2/health.h"
#include "net/http2/session.h"

namespace {

using namespace tweendeck::net::http2;

class Echo final : public GrpcHandler {
 public:
  explicit Echo(GrpcCall& call) : call_(call) {}

 private:
  void on_message(const GrpcMessage& message) override { call_.send(message.bytes()); }
  void on_half_close() override { call_.finish(GrpcStatus::Ok); }
  void on_closed() override {}
  GrpcCall& call_;
};

constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Limits limits{.max_streams = 8, .max_message_bytes = 1 << 16, .max_backlog_bytes = 1 << 16};
  GrpcShared shared{limits, {}, 0};
  shared.methods["/e"] = [](GrpcCall& call) { return std::make_unique<Echo>(call); };
  Health health;
  health.set("readiness", true);
  health.offer(shared);
  {
    Session session(limits, GrpcCall::factory(shared), [] {});
    bool alive = session.receive(kPreface);
    std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    const size_t piece = data[0] == 0 ? size : data[0];
    while (alive && !rest.empty()) {
      alive = session.receive(rest.substr(0, piece));
      rest.remove_prefix(std::min(piece, rest.size()));
      OutQueue out;
      session.produce(out);
      if (out.size() > 2 * limits.max_backlog_bytes) __builtin_trap();
    }
  }
  if (shared.partial_bytes != 0) __builtin_trap();
  return 0;
}
