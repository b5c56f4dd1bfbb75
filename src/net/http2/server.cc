#include "net/http2/server.h"

#include <utility>

namespace tweendeck::net::http2 {
GrpcServer::GrpcServer(EventLoop& loop, Limits limits, const Clock& clock)
    : loop_(loop), limits_(limits), clock_(clock), shared_{limits_, {}, 0} {
  health_.offer(shared_);
}

GrpcServer::~GrpcServer() {
  loop_.cancel(sweep_timer_);
  loop_.cancel(drain_timer_);
  close_all();
}

void GrpcServer::offer(std::string method, GrpcFactory factory) {
  shared_.methods[std::move(method)] = std::move(factory);
}

Result<uint16_t> GrpcServer::listen(const Address& address, std::shared_ptr<TlsContext> tls) {
  auto listener = std::make_unique<Listener>(loop_);
  const TlsContext* context = tls.get();
  Status opened = listener->open(address, [this, context](Fd fd) { accept(std::move(fd), context); });
  if (!opened) return fail(opened.error());
  const uint16_t port = listener->port();
  doors_.push_back({std::move(listener), std::move(tls)});
  if (sweep_timer_ == 0) sweep_timer_ = loop_.every(limits_.sweep_interval, [this] { sweep(); });
  return port;
}

void GrpcServer::accept(Fd fd, const TlsContext* tls) {
  if (connections_.size() >= kMaxConnections) return;  // closes it
  auto forget = [this](Connection* connection) {
    auto node = connections_.extract(connection);
    if (!node.empty()) loop_.retire(std::move(node.mapped()));
  };
  auto made = std::make_unique<Connection>(loop_, limits_, GrpcCall::factory(shared_), forget, clock_.now());
  Connection* connection = made.get();
  connections_.emplace(connection, std::move(made));
  if (!connection->open(std::move(fd), tls)) connection->close();
}

void GrpcServer::sweep() {
  std::vector<Connection*> all;
  for (auto& [connection, owned] : connections_) all.push_back(connection);
  for (Connection* connection : all) connection->sweep(clock_.now());
}

void GrpcServer::begin_drain() {
  for (Door& door : doors_) door.listener->close();
  for (auto& [connection, owned] : connections_) connection->announce_end();
  drain_timer_ = loop_.after(limits_.goaway_notice, [this] {
    drain_timer_ = 0;
    for (auto& [connection, owned] : connections_) connection->refuse_streams();
  });
}

void GrpcServer::close_all() {
  while (!connections_.empty()) connections_.begin()->first->close();
}

size_t GrpcServer::calls() const {
  size_t sum = 0;
  for (auto& [connection, owned] : connections_) sum += connection->open_exchanges();
  return sum;
}

}  // namespace tweendeck::net::http2
