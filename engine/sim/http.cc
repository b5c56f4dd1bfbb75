#include "engine/sim/http.h"

#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <optional>

#include "engine/sim/api.h"

namespace tweendeck::sim {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  explicit Impl(asio::io_context& io) : acceptor(io) {}
  void accept();

  tcp::acceptor acceptor;
  HttpHandler handler;
  size_t connections = 0;
};

namespace {

constexpr size_t kMaxPipelinedBytes = 64 << 10;

std::string head(int status, std::string_view content_type, bool keep_alive) {
  return fmt::format("HTTP/1.1 {} {}\r\nServer: {}\r\nContent-Type: {}\r\n{}", status,
                     std::string_view(http::obsolete_reason(static_cast<http::status>(status))), kFingerprint,
                     content_type, keep_alive ? "" : "Connection: close\r\n");
}

class Session final : public Connection, public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::function<void()> gone, const HttpHandler& handler)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        gone_(std::move(gone)),
        handler_(handler) {}
  ~Session() override { gone_(); }

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    answering_ = false;
    arm_timer();
    http::async_read_header(socket_, buffer_, *parser_,
                            [self = shared_from_this()](ErrorCode error, size_t) { self->on_header(error); });
  }

  void wait_for(std::shared_ptr<Pending> pending) override {
    pending_ = std::move(pending);
    watch();
  }

  void reply(int status, std::string_view content_type, std::string body) override {
    if (!socket_.is_open()) return;
    pending_.reset();
    out_ = head(status, content_type, keep_alive_);
    out_ += fmt::format("Content-Length: {}\r\n\r\n", body.size());
    out_ += body;
    write(true);
  }

  void stream(std::string_view content_type, std::shared_ptr<Source> source) override {
    source_ = source;
    out_ = head(200, content_type, keep_alive_) +
           "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    wait_for(std::move(source));
    pump();
  }

  void wake() override { pump(); }

 private:
  void arm_timer() {
    timer_.expires_after(std::chrono::seconds(kIdleTimeoutS));
    timer_.async_wait([weak = weak_from_this()](ErrorCode error) {
      const auto self = weak.lock();
      if (!error && self && !self->answering_) self->close();
    });
  }

  void on_header(ErrorCode error) {
    if (error) return refuse(error);
    if (boost::beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
      ErrorCode ignored;  // a client that does not get it sends its body after a second anyway
      asio::write(socket_, asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n")), ignored);
    }
    http::async_read(socket_, buffer_, *parser_,
                     [self = shared_from_this()](ErrorCode failed, size_t) { self->on_request(failed); });
  }

  void on_request(ErrorCode error) {
    if (error) return refuse(error);
    timer_.cancel();
    answering_ = true;
    auto message = parser_->release();
    keep_alive_ = message.keep_alive();
    const std::string_view target(message.target().data(), message.target().size());
    HttpRequest request{std::string(message.method_string()), std::string(target.substr(0, target.find('?'))),
                        std::move(message.body())};
    handler_(std::move(request), shared_from_this());
  }

  void refuse(ErrorCode error) {
    keep_alive_ = false;
    if (error == http::error::header_limit) return reply_error(431, "the headers are larger than 64 KiB");
    if (error == http::error::body_limit) return reply_error(413, "the body is larger than 64 MiB");
    const bool malformed = error.category() == make_error_code(http::error::bad_method).category() &&
                           error != http::error::end_of_stream && error != http::error::partial_message;
    if (malformed) return reply_error(400, "the request is malformed: " + error.message());
    close();
  }

  void reply_error(int status, std::string message) {
    answering_ = true;
    reply(status, "application/json", render_error({status, std::move(message), {}}));
  }

  // Learns of a client that goes while its answer is due. What a pipelining client sends meanwhile is kept.
  void watch() {
    if (watching_ || !socket_.is_open() || buffer_.size() > kMaxPipelinedBytes) return;
    watching_ = true;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](ErrorCode error) {
      self->watching_ = false;
      if (error || !self->answering_ || !self->pending_) return;
      ErrorCode failed;
      const size_t got = self->socket_.read_some(self->buffer_.prepare(4096), failed);
      self->buffer_.commit(got);
      if (failed && failed != asio::error::would_block) return self->close();
      self->watch();
    });
  }

  void pump() {
    if (writing_ || !source_ || !socket_.is_open()) return;
    std::string piece;
    const bool more = source_->next(piece);
    if (!piece.empty()) out_ += fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
    if (!more) {
      out_ += "0\r\n\r\n";
      source_.reset();
      pending_.reset();
    }
    if (!out_.empty()) write(!more);
  }

  void write(bool last) {
    writing_ = true;
    asio::async_write(socket_, asio::buffer(out_),
                      [self = shared_from_this(), last](ErrorCode error, size_t) {
                        self->writing_ = false;
                        self->out_.clear();
                        if (error) return self->close();
                        if (!last) return self->pump();
                        if (!self->keep_alive_) return self->close();
                        self->read();
                      });
  }

  void close() {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
    timer_.cancel();
    source_.reset();
    if (const auto pending = std::move(pending_)) pending->closed();
    pending_.reset();
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  std::function<void()> gone_;
  const HttpHandler& handler_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::shared_ptr<Pending> pending_;
  std::shared_ptr<Source> source_;
  std::string out_;
  bool keep_alive_ = false;
  bool answering_ = false;
  bool writing_ = false;
  bool watching_ = false;
};

}  // namespace

void HttpServer::Impl::accept() {
  acceptor.async_accept([self = shared_from_this()](ErrorCode error, tcp::socket socket) {
    if (error == asio::error::operation_aborted || !self->acceptor.is_open()) return;
    if (!error && self->connections < kMaxConnections) {
      ErrorCode ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      socket.non_blocking(true, ignored);
      ++self->connections;
      std::make_shared<Session>(std::move(socket), [self] { --self->connections; }, self->handler)->read();
    }
    self->accept();
  });
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() {
  stop_accepting();
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(asio::io_context& io, const std::string& host,
                                                       uint16_t port, HttpHandler handler) {
  ErrorCode error;
  const auto address = asio::ip::make_address(host, error);
  auto impl = std::make_shared<Impl>(io);
  impl->handler = std::move(handler);
  const tcp::endpoint endpoint(address, port);
  if (!error) impl->acceptor.open(endpoint.protocol(), error);
  if (!error) impl->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) impl->acceptor.bind(endpoint, error);
  if (!error) impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    return fail(Reason::IoError, fmt::format("cannot listen on {}:{}: {}", host, port, error.message()));
  impl->accept();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

void HttpServer::stop_accepting() {
  ErrorCode ignored;
  impl_->acceptor.close(ignored);
}

size_t HttpServer::connections() const {
  return impl_->connections;
}

}  // namespace tweendeck::sim
