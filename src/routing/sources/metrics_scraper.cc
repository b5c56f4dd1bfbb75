#include "routing/sources/metrics_scraper.h"

#include <fmt/format.h>

#include <future>
#include <map>
#include <utility>

#include "net/http1.h"
#include "net/stream.h"

namespace tweendeck::routing::sources {
namespace {

constexpr size_t kBufferBytes = 16 * 1024;
const net::HttpLimits kHttpLimits{.head_bytes = kBufferBytes, .fields = 64, .trailer_bytes = 1024};

// One GET on a connection of its own.
class Fetch final : net::StreamHandler {
 public:
  using Done = std::function<void(Result<std::string> page)>;

  Fetch(net::EventLoop& loop, const ScrapeTarget& target, size_t max_bytes, Done done)
      : stream_(loop, *this, kBufferBytes), max_bytes_(max_bytes), done_(std::move(done)) {
    request_ =
        fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\nAccept: text/plain\r\n\r\n",
                    target.path, target.address, target.port);
    auto ok = stream_.connect(target.address, target.port);
    if (!ok) stream_.call_again();  // never open: on_readable() ends it
    if (ok && !stream_.connecting()) send();
  }
  ~Fetch() { stream_.close(); }

 private:
  void send() { request_.erase(0, stream_.write(request_)); }
  void on_writable() override {
    if (stream_.broken()) return end(fail(Reason::UpstreamFailed, "refused the connection"));
    send();
  }
  void on_readable() override {
    if (stream_.connecting() || done_ == nullptr) return;
    while (true) {
      switch (stream_.fill()) {
        case net::Stream::Fill::Data:
          break;
        case net::Stream::Fill::WouldBlock:
          return;
        case net::Stream::Fill::End:
          if (head_done_ && body_.until_close()) return end(std::move(page_));
          [[fallthrough]];
        default:
          return end(fail(Reason::UpstreamFailed, "broke the connection"));
      }
      if (!take()) return;
      if (!stream_.readable()) return;
    }
  }
  // False when the fetch has ended.
  bool take() {
    if (!head_done_) {
      auto size = net::head_size(stream_.input(), scanned_, kHttpLimits);
      if (!size) return end(fail(size.error())), false;
      if (*size == 0) return true;
      net::ResponseHead head;
      auto ok = net::parse_response_head(stream_.input().substr(0, *size), kHttpLimits, false, head);
      if (!ok) return end(fail(ok.error())), false;
      if (head.status != 200) {
        return end(fail(Reason::UpstreamFailed, fmt::format("answered with status {}", head.status))), false;
      }
      body_ = net::BodyReader(head, kHttpLimits);
      stream_.consume(*size);
      head_done_ = true;
    }
    while (!body_.done() && !stream_.input().empty()) {
      net::BodyReader::Piece piece;
      if (!body_.next(stream_.input(), piece)) return end(fail(Reason::UpstreamFailed, body_.error())), false;
      page_ += piece.content;
      stream_.consume(piece.consumed);
      if (page_.size() > max_bytes_) {
        return end(fail(Reason::LimitExceeded, fmt::format("the page passes {} bytes", max_bytes_))), false;
      }
    }
    if (!body_.done()) return true;
    end(std::move(page_));
    return false;
  }
  void end(Result<std::string> page) {
    stream_.close();
    if (Done done = std::exchange(done_, nullptr)) done(std::move(page));
  }

  net::Stream stream_;
  std::string request_;
  std::string page_;
  size_t max_bytes_;
  size_t scanned_ = 0;
  bool head_done_ = false;
  net::BodyReader body_;
  Done done_;
};

}  // namespace

struct MetricsScraper::Impl {
  struct Entry {
    ScrapeTarget target;
    std::unique_ptr<Fetch> fetch;
    Nanos began = 0;
  };

  net::EventLoop& loop;
  ScraperConfig config;
  OnLoad on_load;
  Counter& scrapes;
  Counter& errors;
  SystemClock clock;
  std::map<std::string, Entry> entries;
  net::EventLoop::TimerId timer = 0;

  Impl(net::EventLoop& loop_in, Registry& registry, ScraperConfig config_in, OnLoad on_load_in)
      : loop(loop_in),
        config(config_in),
        on_load(std::move(on_load_in)),
        scrapes(registry.counter("tweendeck_scrapes_total", "Scrapes of replicas' metrics.")),
        errors(
            registry.counter("tweendeck_scrape_errors_total", "Scrapes of replicas' metrics that failed.")) {}

  void round() {
    Nanos now = clock.now();
    for (auto& [id, entry] : entries) {
      if (entry.fetch != nullptr) {
        if (now - entry.began >= config.timeout)
          finish(id, fail(Reason::UpstreamTimeout, "did not answer in time"));
        continue;
      }
      entry.began = now;
      scrapes.add();
      entry.fetch = std::make_unique<Fetch>(
          loop, entry.target, config.max_page_bytes,
          [this, key = id](Result<std::string> page) { finish(key, std::move(page)); });
    }
  }

  void finish(const std::string& id, Result<std::string> page) {
    auto found = entries.find(id);
    if (found == entries.end()) return;
    EndpointLoad load;
    if (page) {
      auto read = read_load(*page, found->second.target.names);
      if (read) load = *read;
      if (!read) errors.add();
    } else {
      errors.add();
    }
    loop.retire(std::move(found->second.fetch));
    on_load(id, load);
  }

  void drop(Entry& entry) {
    if (entry.fetch != nullptr) loop.retire(std::move(entry.fetch));
  }
};

MetricsScraper::MetricsScraper(net::EventLoop& loop, Registry& registry, ScraperConfig config, OnLoad on_load)
    : impl_(std::make_shared<Impl>(loop, registry, config, std::move(on_load))) {}

MetricsScraper::~MetricsScraper() {
  stop();
}

void MetricsScraper::start() {
  impl_->loop.post([impl = impl_] {
    if (impl->timer == 0)
      impl->timer = impl->loop.every(impl->config.interval, [p = impl.get()] { p->round(); });
  });
}

void MetricsScraper::stop() {
  auto end = [impl = impl_] {
    impl->loop.cancel(std::exchange(impl->timer, 0));
    for (auto& [id, entry] : impl->entries) impl->drop(entry);
    impl->entries.clear();
  };
  if (impl_->loop.in_loop() || !impl_->loop.running()) return end();
  std::promise<void> done;
  impl_->loop.post([&] {
    end();
    done.set_value();
  });
  done.get_future().wait();
}

void MetricsScraper::set_target(const ScrapeTarget& target) {
  impl_->loop.post([impl = impl_, target] {
    MetricsScraper::Impl::Entry& entry = impl->entries[target.id];
    impl->drop(entry);
    entry.target = target;
  });
}

void MetricsScraper::remove_target(const std::string& id) {
  impl_->loop.post([impl = impl_, id] {
    auto found = impl->entries.find(id);
    if (found == impl->entries.end()) return;
    impl->drop(found->second);
    impl->entries.erase(found);
  });
}

}  // namespace tweendeck::routing::sources
