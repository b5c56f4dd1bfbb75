// A few pages over HTTP/1.1, made when they are asked for: metrics, state. On an EventLoop; low rate, one request per
// connection, GET and HEAD only.
//
//   PageServer pages(loop);
//   pages.add("/metrics", "text/plain; version=0.0.4", [&] { return registry.expose(); });
//   pages.listen({"127.0.0.1", 9090});
//
// Loop thread only, or before the loop runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "net/listener.h"

namespace tweendeck::net {

class PageServer {
 public:
  static constexpr size_t kMaxConnections = 64;  // more are closed unanswered
  static constexpr Nanos kTimeout = 10 * kSecond;

  explicit PageServer(EventLoop& loop);
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  void add(std::string path, std::string content_type, std::function<std::string()> make);
  Result<uint16_t> listen(const Address& address);  // the port; errors: those of Listener::open
  void close();

 private:
  class Visitor;
  struct Page {
    std::string content_type;
    std::function<std::string()> make;
  };
  std::string answer(std::string_view method, std::string_view path) const;
  void forget(Visitor* visitor);

  EventLoop& loop_;
  Listener listener_;
  std::map<std::string, Page, std::less<>> pages_;
  std::unordered_map<Visitor*, std::unique_ptr<Visitor>> visitors_;
};

}  // namespace tweendeck::net
