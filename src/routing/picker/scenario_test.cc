// Runs test/scenarios/picker/*.txt; the format is told in test/scenarios/README.md.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/scenario_testing.h"
#include "base/text.h"
#include "base/units.h"
#include "routing/picker/render_testing.h"
#include "routing/picker/session.h"

namespace tweendeck::routing::picker {
namespace {

using scenario::Line;

class Proxy final : public ToProxy {
 public:
  std::string take() { return join(std::exchange(said_, {}), " | "); }

 private:
  void send(const net::ProtoWriter& message, std::shared_ptr<const std::string>,
            std::string_view body) override {
    EXPECT_LE(body.size(), kMaxBodyChunk);
    const Told told = read_told(std::string(message.head()).append(body).append(message.tail()));
    if (told.kind == "headers") EXPECT_TRUE(told.clears_route);
    said_.push_back(to_text(told));
  }
  void finish() override { said_.emplace_back("finish"); }
  void fail(std::string_view message) override { said_.push_back("fail " + std::string(message)); }
  size_t unsent() const override { return 0; }
  void pause(bool paused) override {
    if (std::exchange(paused_, paused) != paused) said_.emplace_back(paused ? "pause" : "resume");
  }

  std::vector<std::string> said_;
  bool paused_ = false;
};

// "ab<x*1000>c": ab, 1000 times x, c.
std::string expand(std::string text) {
  for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at)) {
    const size_t end = text.find('>', at);
    const std::string many(std::stoul(text.substr(at + 3, end - at - 3)), text[at + 1]);
    text.replace(at, end - at + 1, many);
  }
  return text;
}

class Runner {
 public:
  std::string run(const Line& line) {
    const std::string& verb = line.words.at(0);
    const std::string name = line.word(1);
    if (verb == "picker") return configure(line), "";
    if (verb == "endpoint") return put(name, line.word(2), line), "";
    if (verb == "remove")
      return std::erase_if(endpoints_, [&](auto& e) { return e.id == name; }), publish(), "";
    if (verb == "wait") {
      clock_.advance(parse_duration(name).value());
      pool_->sweep();
      return all_said();
    }
    if (verb == "accounts") return accounts();
    if (verb == "end-all") return pool_->refuse_all(), all_said();
    Stream& stream = streams_[name];
    if (!stream.session) stream.session = std::make_unique<Session>(*pool_, stream.proxy);
    if (verb == "done") return stream.session->on_half_close(), stream.proxy.take();
    if (verb == "gone") return streams_.erase(name), all_said();
    deliver(verb, line, *stream.session);
    const std::string said = stream.proxy.take();
    const std::string others = all_said();
    return said + (said.empty() || others.empty() ? "" : " | ") + others;
  }

 private:
  struct Stream {
    Proxy proxy;
    std::unique_ptr<Session> session;
  };

  void configure(const Line& line) {
    config_.fallbacks = line.number("fallbacks");
    config_.max_hold_bytes = line.number("hold", config_.max_hold_bytes);
    config_.max_body_bytes = line.number("body", config_.max_body_bytes);
    config_.max_total_hold_bytes = line.number("total", config_.max_total_hold_bytes);
    config_.max_waiting = line.number("waiting", config_.max_waiting);
    config_.test_selection = line.has("test-selection");
    config_.subset_hint = !line.has("no-subset");
    streams_.clear();
    endpoints_.clear();
    pool_ = std::make_unique<Pool>(config_, RouterConfig{}, clock_, metrics_);
  }
  void put(const std::string& name, const std::string& address, const Line& line) {
    Endpoint endpoint;
    endpoint.id = name;
    const size_t colon = address.find(':');
    endpoint.address = address.substr(0, colon);
    endpoint.port = static_cast<uint16_t>(std::stoul(address.substr(colon + 1)));
    endpoint.max_in_flight = static_cast<uint32_t>(line.number("max"));
    endpoint.state = line.has("starting") ? EndpointState::Starting : EndpointState::Ready;
    std::erase_if(endpoints_, [&](const Endpoint& known) { return known.id == name; });
    endpoints_.push_back(endpoint);
    publish();
  }
  void publish() { pool_->set_endpoints(endpoints_); }

  static Pairs headers_of(const Line& line) {
    Pairs headers;
    for (const auto& [name, value] : line.values) {
      if (!name.starts_with("@")) headers.emplace_back(name, value);
    }
    return headers;
  }

  void deliver(const std::string& verb, const Line& line, Session& session) {
    static const std::map<std::string, uint32_t> kinds = {{"headers", 2},  {"response", 3},
                                                          {"body", 4},     {"answer", 5},
                                                          {"trailers", 6}, {"response-trailers", 7}};
    net::ProtoWriter out;
    std::string text;
    if (line.values.contains("@subset")) {
      std::vector<std::string_view> list = split(line.values.at("@subset"), ',');
      std::erase(list, std::string_view("none"));
      write_metadata(kSubsetNamespace, kSubsetKey, list, true, out);
    }
    if (line.values.contains("@served")) {
      write_metadata(kDestinationNamespace, kServedKey, {line.values.at("@served")}, false, out);
    }
    const size_t mark = out.size();
    if (verb == "body" || verb == "answer") {
      text = expand(line.word(2) == "end" ? "" : line.word(2));
      if (line.has("end")) out.flag(2, true);
      out.field(1, text);
    } else {
      if (line.has("end")) out.flag(3, true);
      const size_t map = out.size();
      write_header_map(headers_of(line), out);
      out.message(1, map);
    }
    if (!kinds.contains(verb)) ADD_FAILURE() << "unknown verb " << verb;
    out.message(kinds.at(verb), mark);
    session.on_message(net::http2::GrpcMessage(std::make_shared<const std::string>(out.head())));
  }

  std::string all_said() {
    std::vector<std::string> out;
    for (auto& [name, stream] : streams_) {
      const std::string said = stream.proxy.take();
      if (!said.empty()) out.push_back(name + ": " + said);
    }
    return join(out, " | ");
  }
  std::string accounts() const {
    std::vector<std::string> out;
    for (const Router::EndpointView& view : pool_->router().endpoints()) {
      out.push_back(fmt::format("{} {}", view.endpoint.id, view.in_flight));
    }
    return join(out, ", ");
  }

  PickerConfig config_;
  ManualClock clock_{kSecond};
  Registry registry_;
  PickerMetrics metrics_{registry_, "test"};
  std::vector<Endpoint> endpoints_;
  std::unique_ptr<Pool> pool_;
  std::map<std::string, Stream> streams_;
};

TEST(PickerScenarios, DoWhatTheyTell) {
  const auto files = scenario::files_of("picker");
  ASSERT_FALSE(files.empty());
  for (const auto& file : files) {
    Runner runner;
    scenario::run_file(file, [&runner](const Line& line) { return runner.run(line); });
  }
}

}  // namespace
}  // namespace tweendeck::routing::picker
