#include "net/http2/health.h"

#include <fmt/format.h>

#include "net/protobuf.h"

namespace tweendeck::net::http2 {
namespace {

constexpr size_t kMaxServiceNameBytes = 256;

// HealthCheckRequest{service = 1}. False when it is malformed.
bool parse_service(const GrpcMessage& message, std::string& service) {
  ProtoReader in(message.bytes());
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) service = in.bytes().substr(0, kMaxServiceNameBytes);
  }
  return in.ok();
}

void send_state(GrpcCall& call, uint8_t state) {
  ProtoWriter out;
  out.field(1, uint64_t{state});  // HealthCheckResponse{status = 1}
  call.send(out.head());
}

}  // namespace

class Health::CheckCall final : public GrpcHandler {
 public:
  CheckCall(Health& health, GrpcCall& call) : health_(health), call_(call) {}

 private:
  void on_message(const GrpcMessage& message) override {
    std::string service;
    if (!parse_service(message, service)) {
      return call_.finish(GrpcStatus::InvalidArgument, "the message is malformed");
    }
    const State state = health_.state(service);
    if (state == State::Unknown) {
      return call_.finish(GrpcStatus::NotFound, fmt::format("there is no service \"{}\"", service));
    }
    send_state(call_, static_cast<uint8_t>(state));
    call_.finish(GrpcStatus::Ok);
  }
  void on_half_close() override { call_.finish(GrpcStatus::InvalidArgument, "there was no message"); }
  void on_closed() override {}

  Health& health_;
  GrpcCall& call_;
};

class Health::WatchCall final : public GrpcHandler {
 public:
  WatchCall(Health& health, GrpcCall& call) : health_(health), call_(call) {}

  void tell() {
    const State now = health_.state(service_);
    if (told_ && now == last_) return;
    told_ = true;
    last_ = now;
    send_state(call_, static_cast<uint8_t>(now));
  }
  const std::string& service() const { return service_; }

 private:
  void on_message(const GrpcMessage& message) override {
    if (!parse_service(message, service_)) {
      return call_.finish(GrpcStatus::InvalidArgument, "the message is malformed");
    }
    health_.watching_.insert(this);
    tell();
  }
  void on_half_close() override {}
  void on_closed() override { health_.watching_.erase(this); }

  Health& health_;
  GrpcCall& call_;
  std::string service_;
  bool told_ = false;
  State last_ = State::Unknown;
};

void Health::offer(GrpcShared& shared) {
  shared.methods["/grpc.health.v1.Health/Check"] = [this](GrpcCall& call) {
    return std::make_unique<CheckCall>(*this, call);
  };
  shared.methods["/grpc.health.v1.Health/Watch"] = [this](GrpcCall& call) {
    return std::make_unique<WatchCall>(*this, call);
  };
}

Health::State Health::state(std::string_view service) const {
  const auto found = services_.find(service);
  if (found == services_.end()) return State::Unknown;
  return found->second ? State::Serving : State::NotServing;
}

void Health::set(const std::string& service, bool serving) {
  services_[service] = serving;
  for (WatchCall* call : watching_) {
    if (call->service() == service) call->tell();
  }
}

}  // namespace tweendeck::net::http2
