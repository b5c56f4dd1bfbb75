#include <gmock/gmock.h>
#include <zlib.h>

#include "sim/trace/cluster_trace.h"
#include "sim/trace/event_log.h"
#include "sim/trace/orders.h"
#include "sim/trace/published.h"
#include "sim/trace/text_file.h"

namespace tweendeck::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kNodeHeader = "sn,cpu_milli,memory_mib,gpu,model\n";
constexpr std::string_view kPodHeader = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
constexpr std::string_view kLongPodHeader =
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,"
    "scheduled_time\n";

NodeList two_nodes() {
  return *parse_nodes(std::string(kNodeHeader) + "a,64000,262144,2,P100\nb,96000,393216,8,G2\n", "nodes.csv");
}

TEST(Nodes, AreReadWithTheirModels) {
  NodeList list = two_nodes();
  ASSERT_EQ(list.nodes.size(), 2);
  EXPECT_EQ(list.nodes[1], (TraceNode{"b", 96'000, 393'216, 8, 1}));
  EXPECT_THAT(list.models, ElementsAre("P100", "G2"));
  EXPECT_EQ(list.gpu_milli(), 10'000);
}

TEST(Nodes, CopiesHaveNamesOfTheirOwn) {
  NodeList list = repeat_nodes(two_nodes(), 3);
  ASSERT_EQ(list.nodes.size(), 6);
  EXPECT_EQ(list.nodes[5].name, "b-2");
  EXPECT_EQ(list.gpu_milli(), 30'000);
}

TEST(Nodes, ErrorsNameFileLineAndField) {
  for (auto [rows, words] :
       {std::pair("a,x,1,1,G\n", "nodes.csv:2: cpu_milli is \"x\""),
        std::pair("a,1,1,1,G\na,1,1,9,G\n", "nodes.csv:3: gpu is \"9\""),
        std::pair("a,1,1,1\n", "4 fields, the header has 5"),
        std::pair("a,1,-1,1,G\n", "memory_mib is \"-1\""), std::pair("a,1,1,0,G\n", "no node has a GPU")}) {
    auto list = parse_nodes(std::string(kNodeHeader) + rows, "nodes.csv");
    ASSERT_FALSE(list) << rows;
    EXPECT_EQ(list.error().reason, Reason::InvalidArgument);
    EXPECT_THAT(list.error().message, HasSubstr(words));
    EXPECT_FALSE(list.error().hint.empty());
  }
  EXPECT_THAT(parse_nodes("sn,cpu_milli\n", "n").error().message,
              HasSubstr("n:1: the header has no column memory_mib"));
  EXPECT_THAT(parse_nodes("", "n").error().message, HasSubstr("the file is empty"));
}

TEST(Pods, AreReadWithQueueModelsAndLifetime) {
  auto list = parse_pods(std::string(kLongPodHeader) +
                             "p,12000,16384,1,460,G2|P100|None,LS,Running,0,500,100\r\n"
                             "q,1000,1,0,0,,BE,Pending,0,500,\n",
                         "pods.csv", two_nodes());
  ASSERT_TRUE(list) << to_string(list.error());
  ASSERT_EQ(list->pods.size(), 2);
  EXPECT_EQ(list->pods[0].models, 0b11u);
  EXPECT_EQ(list->pods[0].lifetime_s, 400);
  EXPECT_EQ(list->pods[0].asked_milli(), 460);
  EXPECT_EQ(list->pods[1].models, kAnyModel);
  EXPECT_EQ(list->pods[1].lifetime_s, -1);
  EXPECT_THAT(list->queues, ElementsAre("LS", "BE"));
}

TEST(Pods, ErrorsNameFileLineAndField) {
  for (auto [rows, words] : {std::pair("p,1,1,2,500\n", "p.csv:2: num_gpu is 2 and gpu_milli 500"),
                             std::pair("p,1,1,1,0\n", "num_gpu is 1 and gpu_milli 0"),
                             std::pair("p,1,1,1,1001\n", "gpu_milli is \"1001\""),
                             std::pair("p,,1,1,1000\n", "cpu_milli is \"\""), std::pair("", "no pods")}) {
    auto list = parse_pods(std::string(kPodHeader) + rows, "p.csv", two_nodes());
    ASSERT_FALSE(list) << rows;
    EXPECT_THAT(list.error().message, HasSubstr(words));
  }
  auto backwards =
      parse_pods(std::string(kLongPodHeader) + "p,1,1,1,460,,LS,Running,0,5,10\n", "p.csv", two_nodes());
  ASSERT_FALSE(backwards);
  EXPECT_THAT(backwards.error().message, HasSubstr("deletion_time 5 is before scheduled_time 10"));
}

TEST(Orders, AreReadPerSeed) {
  auto orders =
      parse_orders("seed 42 nodes 2 arrivals 3\n1 0\n4 4 0\nseed 43 nodes 2 arrivals 1\n0 1\n2\n", "o", 2, 5);
  ASSERT_TRUE(orders) << to_string(orders.error());
  ASSERT_EQ(orders->size(), 2);
  EXPECT_EQ((*orders)[0], (Order{42, {1, 0}, {4, 4, 0}}));
  Order twice = repeat_order((*orders)[0], 2);
  EXPECT_THAT(twice.ranks, ElementsAre(1, 0, 3, 2));
  EXPECT_THAT(twice.arrivals, ElementsAre(4, 4, 0, 4, 4, 0));
}

TEST(Orders, ErrorsNameFileAndLine) {
  for (auto [text, words] :
       {std::pair("", "no orders"), std::pair("sead 1 nodes 2 arrivals 1\n", "o:1: not a header"),
        std::pair("seed 1 nodes 3 arrivals 1\n", "an order for 3 nodes, the node list has 2"),
        std::pair("seed 1 nodes 2 arrivals 1\n0 0\n1\n", "o:2: rank 0 comes twice"),
        std::pair("seed 1 nodes 2 arrivals 1\n0 2\n1\n", "ranks is \"2\""),
        std::pair("seed 1 nodes 2 arrivals 1\n0\n1\n", "1 ranks, the header says 2"),
        std::pair("seed 1 nodes 2 arrivals 2\n0 1\n5 1\n", "o:3: arrivals is \"5\""),
        std::pair("seed 1 nodes 2 arrivals 99999999\n0 1\n1\n", "1 arrivals, the header says 99999999"),
        std::pair("seed 1 nodes 2 arrivals 1\n0 1\n", "the file ends before its arrivals"),
        std::pair("seed 1 nodes 2 arrivals 1\n0 1\n1\nseed 1 nodes 2 arrivals 1\n0 1\n1\n",
                  "seed 1 comes twice")}) {
    auto orders = parse_orders(text, "o", 2, 5);
    ASSERT_FALSE(orders) << text;
    EXPECT_THAT(orders.error().message, HasSubstr(words));
  }
}

TEST(Published, RowsAreReadInHundredths) {
  auto rows = parse_published("workload,policy,seed,0,1,2\ndefault,FGD,42,0.25,1.0,2.07\n", "rows.csv");
  ASSERT_TRUE(rows) << to_string(rows.error());
  EXPECT_THAT((*rows)[0].hundredths, ElementsAre(25, 100, 207));
  EXPECT_FALSE(parse_published("workload,policy,seed,0\ndefault,FGD,42,101\n", "rows.csv"));
}

TEST(EventLog, IsReadWithNamesResolved) {
  NodeList nodes = two_nodes();
  PodList pods = *parse_pods(std::string(kPodHeader) + "p,1,1,1,460\nq,1,1,1,1000\n", "p", nodes);
  auto events = parse_event_log(
      "time_s,event,name,lifetime_s\n0,arrive,q,3600\n12.5,node-down,b,\n12.5,arrive,p,\n60,node-up,b,\n",
      "log", nodes, pods);
  ASSERT_TRUE(events) << to_string(events.error());
  using Kind = TimelineEvent::Kind;
  EXPECT_THAT(*events, ElementsAre(TimelineEvent{0, Kind::Arrive, 1, 3'600'000},
                                   TimelineEvent{12'500, Kind::NodeDown, 1, kForever},
                                   TimelineEvent{12'500, Kind::Arrive, 0, kForever},
                                   TimelineEvent{60'000, Kind::NodeUp, 1, kForever}));
  for (auto [row, words] :
       {std::pair("1,arrive,x,\n", "log:2: no pod \"x\""), std::pair("1,gone,p,\n", "event is \"gone\""),
        std::pair("1,node-up,a,5\n", "a node has no lifetime"),
        std::pair("2,arrive,p,\n1,arrive,p,\n", "log:3: the time goes backwards"),
        std::pair("-1,arrive,p,\n", "time_s is \"-1\""), std::pair("", "no events")}) {
    auto refused = parse_event_log("time_s,event,name,lifetime_s\n" + std::string(row), "log", nodes, pods);
    ASSERT_FALSE(refused) << row;
    EXPECT_THAT(refused.error().message, HasSubstr(words));
  }
}

TEST(TextFile, GzipIsUnpackedAndDamageIsNamed) {
  std::string packed(200, '\0');
  z_stream stream{};
  ASSERT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string text = "seed 1";
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  EXPECT_EQ(*gunzip(packed, "f"), text);
  EXPECT_EQ(*gunzip("plain", "f"), "plain");
  auto cut = gunzip(packed.substr(0, packed.size() - 9), "f.gz");
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error().message, HasSubstr("f.gz is broken gzip: it ends early"));
  packed[packed.size() - 6] ^= 1;
  EXPECT_FALSE(gunzip(packed, "f.gz")) << "the checksum is wrong";
  EXPECT_EQ(read_text_file("/nonexistent/file").error().reason, Reason::NotFound);
}

}  // namespace
}  // namespace tweendeck::sim
