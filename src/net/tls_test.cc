// TLS through the loop's Stream and the blocking client, with a certificate made here.
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "net/certificate_testing.h"
#include "net/control_client.h"
#include "net/http1.h"
#include "net/listener.h"
#include "net/stream.h"

namespace tweendeck::net {
namespace {

// Answers each request with its own body, read and written in pieces as the socket gives and takes them.
class EchoConnection final : StreamHandler {
 public:
  EchoConnection(EventLoop& loop, Fd fd, const TlsContext* tls) : stream_(loop, *this, 8192) {
    EXPECT_TRUE(stream_.adopt(std::move(fd), tls));
  }

 private:
  void on_readable() override {
    while (stream_.is_open()) {
      Stream::Fill fill = stream_.fill();
      if (fill == Stream::Fill::End || fill == Stream::Fill::Broken) return stream_.close();
      take();
      if (!stream_.readable()) break;
    }
    flush();
  }
  void on_writable() override { flush(); }
  void take() {
    if (!in_body_) {
      size_t scanned = 0;
      auto size = head_size(stream_.input(), scanned, {});
      if (!size || *size == 0) return;
      RequestHead head;
      EXPECT_TRUE(parse_request_head(stream_.input().substr(0, *size), {}, head));
      body_ = BodyReader(head);
      out_ += "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(head.content_length) + "\r\n\r\n";
      stream_.consume(*size);
      in_body_ = true;
    }
    BodyReader::Piece piece;
    while (!body_.done() && !stream_.input().empty() && body_.next(stream_.input(), piece)) {
      out_ += piece.content;
      stream_.consume(piece.consumed);
    }
    in_body_ = !body_.done();
  }
  void flush() { out_.erase(0, stream_.write(out_)); }

  Stream stream_;
  BodyReader body_;
  bool in_body_ = false;
  std::string out_;
};

class TlsTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tw-tls-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    cert_ = directory_ + "/cert.pem";
    key_ = directory_ + "/key.pem";
    write_pair(cert_, key_);
  }
  void TearDown() override {
    ::unlink(cert_.c_str());
    ::unlink(key_.c_str());
    ::rmdir(directory_.c_str());
  }
  std::string directory_, cert_, key_;
};

TEST_F(TlsTest, LargeBodiesGoBothWays) {
  auto tls = TlsContext::load(cert_, key_);
  ASSERT_TRUE(tls) << tls.error().message;
  EventLoop loop;
  ASSERT_TRUE(loop.open());
  std::vector<std::unique_ptr<EchoConnection>> connections;
  Listener listener(loop);
  ASSERT_TRUE(listener.open({"127.0.0.1", 0}, [&](Fd fd) {
    connections.push_back(std::make_unique<EchoConnection>(loop, std::move(fd), tls->get()));
  }));
  std::thread thread([&] { loop.run(); });
  {
    ControlClient::Target target = ControlClient::url("https://127.0.0.1:" + std::to_string(listener.port()));
    target.ca_file = cert_;
    ControlClient client(target);
    for (size_t size : {size_t{1}, size_t{100}, size_t{3'000'000}}) {
      std::string body(size, 'x');
      for (size_t i = 0; i < size; i += 7) body[i] = static_cast<char>('a' + i % 26);
      auto answer = client.call("POST", "/", body);
      ASSERT_TRUE(answer) << answer.error().message;
      EXPECT_TRUE(*answer == body);
    }
    ControlClient stranger(ControlClient::url(target.base_url));  // does not trust the certificate
    EXPECT_FALSE(stranger.call("GET", "/"));
  }
  loop.stop();
  thread.join();
}

TEST_F(TlsTest, BadFilesAreNamed) {
  EXPECT_EQ(TlsContext::load("/nonexistent.pem", key_).error().reason, Reason::NotFound);
  auto swapped = TlsContext::load(key_, cert_);
  ASSERT_FALSE(swapped);
  EXPECT_EQ(swapped.error().reason, Reason::InvalidArgument);
  EXPECT_NE(swapped.error().message.find(key_), std::string::npos);
  std::string other_cert = directory_ + "/other.pem", other_key = directory_ + "/other-key.pem";
  write_pair(other_cert, other_key);
  EXPECT_EQ(TlsContext::load(cert_, other_key).error().reason, Reason::InvalidArgument);
  ::unlink(other_cert.c_str());
  ::unlink(other_key.c_str());
}

}  // namespace
}  // namespace tweendeck::net
