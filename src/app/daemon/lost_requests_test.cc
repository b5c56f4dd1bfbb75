#include "app/daemon/lost_requests.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace tweendeck::daemon {
namespace {

using routing::gateway::RequestFate;

class LostRequestsTest : public testing::Test {
 protected:
  void lose(const std::string& replica, RequestFate fate, const std::string& retried_on = {}) {
    const Error error{Reason::UpstreamFailed, "replica " + replica + " closed the connection", ""};
    requests_.add({replica, error, fate, retried_on});
  }
  LostRequests requests_;
};

TEST_F(LostRequestsTest, MakesOneEventPerReplica) {
  for (int i = 0; i < 37; ++i) lose("chat-1", RequestFate::Retried, "chat-2");
  lose("chat-1", RequestFate::Cut);
  lose("chat-1", RequestFate::Cut);
  lose("chat-3", RequestFate::Failed);
  const auto events = requests_.take(0);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].replica, "chat-1");
  EXPECT_EQ(events[0].reason, Reason::UpstreamFailed);
  EXPECT_EQ(events[0].action, "Retried");
  EXPECT_EQ(events[0].message,
            "37 requests were retried on another replica, 2 broke after their first byte: "
            "replica chat-1 closed the connection");
  EXPECT_EQ(events[1].action, "RequestsLost");
  EXPECT_EQ(events[1].message,
            "1 request failed before its first byte: replica chat-3 closed the connection");
}

TEST_F(LostRequestsTest, TellsTheSameReplicaApartFromAnother) {
  lose("chat-1", RequestFate::Retried, "chat-1");
  lose("chat-1", RequestFate::Waiting);
  const auto events = requests_.take(0);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].message,
            "1 request was tried once more, 1 waits for a replica to be retried: replica chat-1 closed the "
            "connection");
}

TEST_F(LostRequestsTest, SpeaksAtMostOncePerInterval) {
  lose("chat-1", RequestFate::Failed);
  EXPECT_EQ(requests_.take(0).size(), 1U);
  lose("chat-1", RequestFate::Failed);
  lose("chat-1", RequestFate::Failed);
  EXPECT_TRUE(requests_.take(LostRequests::kInterval - 1).empty());
  const auto later = requests_.take(LostRequests::kInterval);
  ASSERT_EQ(later.size(), 1U);
  EXPECT_TRUE(later[0].message.starts_with("2 requests failed"));
  EXPECT_TRUE(requests_.take(10 * LostRequests::kInterval).empty());
}

TEST_F(LostRequestsTest, TellsTheRestAtTheEndHoweverShortAfterTheLast) {
  lose("chat-1", RequestFate::Failed);
  EXPECT_EQ(requests_.take(0).size(), 1U);
  lose("chat-1", RequestFate::Cut);
  EXPECT_TRUE(requests_.take(1).empty());
  EXPECT_EQ(requests_.take_rest().size(), 1U);
  EXPECT_TRUE(requests_.take_rest().empty());
}

TEST_F(LostRequestsTest, StaysBounded) {
  for (size_t i = 0; i < LostRequests::kMaxReplicas + 10; ++i)
    lose(fmt::format("r-{}", i), RequestFate::Failed);
  EXPECT_EQ(requests_.take(0).size(), LostRequests::kMaxReplicas);
}

}  // namespace
}  // namespace tweendeck::daemon
