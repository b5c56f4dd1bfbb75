// The gateway alone in a process, for measuring: gateway_main PORT MODEL UPSTREAM_PORT...
// Prints the port it listens on and serves until SIGTERM or SIGINT.
#include <fmt/core.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "routing/gateway/gateway.h"

int main(int argc, char** argv) {
  using namespace tweendeck;
  if (argc < 4) {
    fmt::print(stderr, "usage: {} PORT MODEL UPSTREAM_PORT...\n", argv[0]);
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  Registry registry;
  SystemClock clock;
  routing::gateway::GatewayConfig config;
  config.listen.port = static_cast<uint16_t>(std::atoi(argv[1]));
  routing::gateway::Gateway gateway(config, {}, registry, clock);
  for (int i = 3; i < argc; ++i) {
    Endpoint endpoint;
    endpoint.id = fmt::format("bench-{}", i - 2);
    endpoint.deployment = "bench";
    endpoint.address = "127.0.0.1";
    endpoint.port = static_cast<uint16_t>(std::atoi(argv[i]));
    endpoint.models = {argv[2]};
    endpoint.served_model = argv[2];
    endpoint.state = EndpointState::Ready;
    gateway.publish(endpoint);
  }
  if (auto ok = gateway.start(); !ok) {
    fmt::print(stderr, "{}\n", to_string(ok.error()));
    return 1;
  }
  fmt::print("{}\n", gateway.port());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  gateway.stop(kSecond);
  return 0;
}
