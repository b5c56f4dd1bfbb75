#include "net/page_server.h"

#include <fmt/format.h>

#include <utility>

#include "net/http1.h"
#include "net/stream.h"

namespace tweendeck::net {
namespace {

constexpr size_t kHeadBytes = 8 * 1024;
constexpr HttpLimits kLimits{.head_bytes = kHeadBytes, .fields = 64, .trailer_bytes = 0};

std::string message(int status, std::string_view type, std::string_view body, bool with_body) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status,
      status_text(status), type, body.size(), with_body ? body : std::string_view());
}

}  // namespace

class PageServer::Visitor final : StreamHandler {
 public:
  explicit Visitor(PageServer& server) : server_(server), stream_(server.loop_, *this, kHeadBytes) {
    timeout_ = server.loop_.after(kTimeout, [this] {
      timeout_ = 0;
      leave();
    });
  }
  ~Visitor() { server_.loop_.cancel(timeout_); }

  Status open(Fd fd) { return stream_.adopt(std::move(fd), nullptr); }
  void leave() {
    stream_.close();
    server_.forget(this);
  }

 private:
  void on_readable() override {
    while (stream_.readable()) {
      const Stream::Fill filled = stream_.fill();
      if (filled == Stream::Fill::WouldBlock) return;
      if (filled != Stream::Fill::Data) return leave();
      if (!out_.empty()) {  // answered: what else is sent is of no interest
        stream_.consume(stream_.input().size());
        continue;
      }
      const Result<size_t> size = head_size(stream_.input(), scanned_, kLimits);
      RequestHead head;
      if (!size || (*size > 0 && !parse_request_head(stream_.input().substr(0, *size), kLimits, head))) {
        out_ = message(400, "text/plain", "the request is malformed\n", true);
      } else if (*size > 0) {
        out_ = server_.answer(head.method, head.target.substr(0, head.target.find('?')));
      } else {
        continue;
      }
      stream_.consume(stream_.input().size());
      if (!flush()) return;
    }
  }
  void on_writable() override {
    if (!out_.empty()) flush();
  }
  // False when the visitor has left.
  bool flush() {
    sent_ += stream_.write(std::string_view(out_).substr(sent_));
    if (stream_.broken()) return leave(), false;
    if (sent_ == out_.size()) stream_.shutdown_write();  // the peer's end, or the timeout, closes
    return true;
  }

  PageServer& server_;
  Stream stream_;
  EventLoop::TimerId timeout_ = 0;
  size_t scanned_ = 0;
  std::string out_;
  size_t sent_ = 0;
};

PageServer::PageServer(EventLoop& loop) : loop_(loop), listener_(loop) {}

PageServer::~PageServer() {
  close();
}

void PageServer::add(std::string path, std::string content_type, std::function<std::string()> make) {
  pages_[std::move(path)] = {std::move(content_type), std::move(make)};
}

Result<uint16_t> PageServer::listen(const Address& address) {
  Status opened = listener_.open(address, [this](Fd fd) {
    if (visitors_.size() >= kMaxConnections) return;
    auto made = std::make_unique<Visitor>(*this);
    Visitor* visitor = made.get();
    visitors_.emplace(visitor, std::move(made));
    if (!visitor->open(std::move(fd))) visitor->leave();
  });
  if (!opened) return fail(opened.error());
  return listener_.port();
}

void PageServer::close() {
  listener_.close();
  visitors_.clear();
}

void PageServer::forget(Visitor* visitor) {
  auto node = visitors_.extract(visitor);
  if (!node.empty()) loop_.retire(std::move(node.mapped()));
}

std::string PageServer::answer(std::string_view method, std::string_view path) const {
  if (method != "GET" && method != "HEAD") return message(405, "text/plain", "GET only\n", true);
  const auto page = pages_.find(path);
  if (page == pages_.end()) return message(404, "text/plain", "there is no such page\n", method == "GET");
  return message(200, page->second.content_type, page->second.make(), method == "GET");
}

}  // namespace tweendeck::net
