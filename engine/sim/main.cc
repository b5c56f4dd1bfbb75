// tweendeck-sim: a simulated model server. See README.md.
//
//   tweendeck-sim --model sim-8b --model-name chat --host 127.0.0.1 --port 9000 [key=value ...]
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "base/log.h"
#include "base/text.h"
#include "base/units.h"
#include "engine/sim/cuda.h"
#include "engine/sim/http.h"
#include "engine/sim/runner.h"
#include "engine/sim/service.h"
#include "engine/sim/settings.h"
#include "engine/sim/status.h"

namespace tweendeck::sim {
namespace {

constexpr int kExitRefused = 1;

// Passes what the runner reports to the server's thread; newer news of a request replaces older, so that a
// slow server thread never makes a queue grow.
class Mailbox {
 public:
  Mailbox(boost::asio::io_context& io, Service& service) : io_(io), service_(service) {}

  void put(std::vector<Progress> progress) {
    std::lock_guard lock(mutex_);
    for (const Progress& p : progress) newest_[p.id] = p;
    if (posted_) return;
    posted_ = true;
    boost::asio::post(io_, [this] { deliver(); });
  }

 private:
  void deliver() {
    std::vector<Progress> progress;
    {
      std::lock_guard lock(mutex_);
      posted_ = false;
      for (const auto& [id, p] : newest_) progress.push_back(p);
      newest_.clear();
    }
    service_.on_progress(progress);
  }

  boost::asio::io_context& io_;
  Service& service_;
  std::mutex mutex_;
  bool posted_ = false;
  std::unordered_map<RequestId, Progress> newest_;
};

struct Memory {
  uint32_t blocks = 0;
  uint32_t context_tokens = 0;
};

// Weights first, then the KV memory that the slice leaves, both from the driver: it refuses what the slice
// cannot hold.
Result<Memory> allocate(const Model& model, CudaDevice& device) {
  const auto memory = device.memory_bytes();
  if (!memory) return fail(memory.error());
  const auto blocks = kv_blocks(model, *memory);
  if (!blocks) return fail(blocks.error());
  if (Status s = device.allocate(model.weight_bytes, "weights"); !s) return fail(s.error());
  if (Status s = device.allocate(model.activation_bytes, "activations"); !s) return fail(s.error());
  const uint64_t kv_bytes = *blocks * kBlockTokens * model.kv_bytes_per_token;
  if (Status s = device.allocate(kv_bytes, "the KV cache"); !s) return fail(s.error());
  const uint64_t tokens = *blocks * kBlockTokens;
  return Memory{static_cast<uint32_t>(*blocks),
                static_cast<uint32_t>(std::min<uint64_t>(tokens, model.max_context_tokens))};
}

void log_start(const Settings& settings, const CudaDevice& device, const Memory& memory) {
  log::warning("This model server is simulated: its answers are generated words, its timings a model", {});
  log::info("Started tweendeck-sim", {{"model", settings.model.name},
                                      {"servedAs", settings.model_name},
                                      {"device", device.name()},
                                      {"kvBlocks", memory.blocks},
                                      {"contextTokens", memory.context_tokens},
                                      {"port", settings.port}});
}

Status serve(const Settings& settings) {
  auto device = CudaDevice::open();
  if (!device) return fail(device.error());
  const auto memory = allocate(settings.model, **device);
  if (!memory) return fail(memory.error());

  boost::asio::io_context io(1);
  SystemClock clock;
  Service service(
      {settings.model_name, settings.adapters, memory->context_tokens, memory->blocks, TWEENDECK_VERSION},
      clock);
  Mailbox mailbox(io, service);
  boost::asio::signal_set signals(io, SIGTERM, SIGINT);
  Status outcome;
  Runner runner(settings.model, **device, memory->blocks, {.max_requests = settings.max_batch},
                {.report = [&](std::vector<Progress> progress) { mailbox.put(std::move(progress)); },
                 .failed =
                     [&](Error error) {
                       boost::asio::post(io, [&, error] {
                         outcome = fail(error);
                         io.stop();
                       });
                     }});
  service.attach(runner);
  auto server = HttpServer::listen(io, settings.host, settings.port,
                                   [&](HttpRequest request, std::shared_ptr<Connection> connection) {
                                     service.handle(std::move(request), std::move(connection));
                                   });
  if (!server) return fail(server.error());
  std::function<void(const boost::system::error_code&, int)> on_signal = [&](const auto& error, int signal) {
    if (error) return;
    log::info("Stopping after the requests in flight; a second signal stops at once", {{"signal", signal}});
    (*server)->stop_accepting();
    signals.async_wait([&](const auto& again, int) {
      if (!again) io.stop();
    });
    service.drain([&] { io.stop(); });
  };
  signals.async_wait(on_signal);
  log_start(settings, **device, *memory);
  if (Status s =
          write_ready({.max_in_flight = settings.max_in_flight, .context_tokens = memory->context_tokens});
      !s)
    return s;
  io.run();
  while (io.poll() > 0) {
  }
  return outcome;
}

int run(const std::vector<std::string>& arguments) {
  const auto settings = parse_settings(arguments);
  const Status served = settings ? serve(*settings) : fail(settings.error());
  if (served) return 0;
  if (Status written = write_refusal(served.error()); !written) log::error(to_string(written.error()), {});
  log::error("Gave up: " + served.error().message,
             {{"reason", served.error().reason}, {"hint", served.error().hint}});
  return kExitRefused;
}

}  // namespace
}  // namespace tweendeck::sim

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const int code = tweendeck::sim::run({argv + 1, argv + argc});
  fflush(stdout);
  _exit(code);  // the driver's own threads have no part in a clean end
}
