#include "net/http2/grpc.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace tweendeck::net::http2 {
namespace {

constexpr std::string_view kContentType = "application/grpc";
// A message that is larger grows with the bytes that really come, whatever its prefix says.
constexpr size_t kReservedBytes = 64 << 10;

uint32_t big_endian_32(const char* bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

}  // namespace

std::string percent_encode(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

std::shared_ptr<const std::string> GrpcMessage::keep(std::string_view& part) const {
  if (owner_) return owner_;
  auto copy = std::make_shared<const std::string>(part);
  part = *copy;
  return copy;
}

Session::Factory GrpcCall::factory(GrpcShared& shared) {
  return [&shared](Exchange& exchange, const RequestHead& head) -> std::unique_ptr<ExchangeHandler> {
    if (head.method != "POST" || !head.content_type.starts_with(kContentType)) {
      exchange.finish({{":status", "415"}, {"content-type", "text/plain"}});
      return nullptr;
    }
    auto call = std::make_unique<GrpcCall>(shared, exchange);
    const auto method = shared.methods.find(head.path);
    if (method == shared.methods.end()) {
      call->finish(GrpcStatus::Unimplemented, fmt::format("there is no method {}", head.path.substr(0, 100)));
      return nullptr;
    }
    call->handler_ = method->second(*call);
    return call;
  };
}

void GrpcCall::send(std::string_view head, OutQueue::Owner owner, std::string_view part,
                    std::string_view tail) {
  if (finished()) return;
  if (!exchange_.responded()) exchange_.respond({{":status", "200"}, {"content-type", kContentType}});
  const auto size = static_cast<uint32_t>(head.size() + part.size() + tail.size());
  const char prefix[kPrefixBytes] = {0, static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                                     static_cast<char>(size >> 8), static_cast<char>(size)};
  OutQueue& out = exchange_.out();
  out.append({prefix, kPrefixBytes});
  out.append(head);
  if (!part.empty()) out.append(std::move(owner), part);
  out.append(tail);
  exchange_.send();
}

void GrpcCall::finish(GrpcStatus status, std::string_view message) {
  if (finished()) return;
  std::vector<std::pair<std::string, std::string>> fields;
  if (!exchange_.responded()) {
    fields.emplace_back(":status", "200");
    fields.emplace_back("content-type", kContentType);
  }
  fields.emplace_back("grpc-status", std::to_string(static_cast<int>(status)));
  if (!message.empty()) fields.emplace_back("grpc-message", percent_encode(message));
  exchange_.finish(std::move(fields));
}

void GrpcCall::pause(bool paused) {
  paused_ = paused;
  if (!paused_) take_in(0);
}

void GrpcCall::take_in(size_t bytes) {
  owed_ += bytes;
  if (paused_ || owed_ == 0) return;
  exchange_.consume(owed_);
  owed_ = 0;
}

void GrpcCall::drop_partial() {
  if (!partial_) return;
  shared_.partial_bytes -= partial_->size();
  partial_.reset();
}

// Takes the prefix off `bytes`. False when it is not complete, or the call has ended.
bool GrpcCall::begin_message(std::string_view& bytes) {
  const size_t now = std::min(bytes.size(), kPrefixBytes - prefix_size_);
  std::memcpy(prefix_ + prefix_size_, bytes.data(), now);
  prefix_size_ += now;
  bytes.remove_prefix(now);
  if (prefix_size_ < kPrefixBytes) return false;
  message_size_ = big_endian_32(prefix_ + 1);
  if (prefix_[0] != 0) {
    finish(GrpcStatus::Unimplemented, "compressed messages are not taken");
    return false;
  }
  if (message_size_ > shared_.limits.max_message_bytes) {
    finish(GrpcStatus::ResourceExhausted, fmt::format("a message has {} bytes; at most {} are taken",
                                                      message_size_, shared_.limits.max_message_bytes));
    return false;
  }
  return true;
}

void GrpcCall::on_data(std::string_view bytes) {
  take_in(bytes.size());
  while (!finished() && !bytes.empty()) {
    if (prefix_size_ < kPrefixBytes && !begin_message(bytes)) continue;
    if (!partial_ && bytes.size() >= message_size_) {
      const std::string_view whole = bytes.substr(0, message_size_);
      bytes.remove_prefix(message_size_);
      prefix_size_ = 0;
      handler_->on_message(GrpcMessage(whole));
      continue;
    }
    if (!partial_) {
      partial_ = std::make_shared<std::string>();
      partial_->reserve(std::min(message_size_, kReservedBytes));
    }
    const size_t now = std::min(bytes.size(), message_size_ - partial_->size());
    if (shared_.partial_bytes + now > shared_.limits.max_partial_bytes) {
      return finish(GrpcStatus::ResourceExhausted, "too many messages are on their way at once");
    }
    shared_.partial_bytes += now;
    partial_->append(bytes.substr(0, now));
    bytes.remove_prefix(now);
    if (partial_->size() < message_size_) return;
    const std::shared_ptr<const std::string> whole = partial_;
    drop_partial();
    prefix_size_ = 0;
    handler_->on_message(GrpcMessage(whole));
  }
}

void GrpcCall::on_end() {
  if (finished()) return;
  if (prefix_size_ > 0) return finish(GrpcStatus::InvalidArgument, "the last message is cut off");
  handler_->on_half_close();
}

void GrpcCall::on_drained() {
  if (handler_ && !finished()) handler_->on_drained();
}

void GrpcCall::on_closed() {
  drop_partial();
  if (handler_) handler_->on_closed();
}

}  // namespace tweendeck::net::http2
