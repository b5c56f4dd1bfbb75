// Processes that die at any moment: nobody hangs, nothing drifts.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>

#include "softgpu/model/testing.h"

namespace tweendeck::softgpu {
namespace {

using testing::attach;
using testing::CardFile;
using testing::kMs;

constexpr uint64_t kStep = 1 << 20;
// One card of each execution mode; slices so short that kernels of a microsecond are preempted.
constexpr char kAllModes[] = "1:H100-80G,1:H100-80G/time-sliced,1:H100-80G/overlapping";
constexpr uint32_t kCards = 3;
constexpr uint64_t kShortSliceNs = 300;

constexpr int kSoakFactor = 30;
int scaled(int count) {
  return getenv("TWEENDECK_SOAK") == nullptr ? count : count * kSoakFactor;
}

pid_t spawn(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  return child;
}

// A client that allocates, launches and frees on all cards until it is killed.
void work_forever(const CardFile& file) {
  auto model = file.open();
  auto client = attach(*model);
  client->add_context(0);
  for (uint64_t i = 0;; ++i) {
    for (uint32_t card = 0; card < kCards; ++card) {
      const bool held = client->reserve(card, kStep);
      client->submit(card, {.duration_ns = 1000, .sms = 50, .stream = i});
      if (held) client->release(card, kStep);
    }
  }
}

// Every entry of a card that was ever used is in exactly one list, and the counts say so.
void expect_lists_consistent(Model& model, uint32_t index) {
  Card& card = model.shared().card(index);
  std::vector<int> seen(kPoolEntries, 0);
  uint64_t queued = 0, running = 0, sms = 0;
  for (uint64_t slot = 0; slot < kMaxClients; ++slot) {
    const ClientCard& client = model.shared().header().clients[slot].cards[index];
    uint64_t own = 0, own_running = 0;
    for (const Connection& connection : client.connections) {
      uint64_t ticket = 0, last = 0;
      for (uint64_t at = get(connection.first); at != 0; at = get(card.entries[at - 1].next)) {
        const QueueEntry& entry = card.entries[at - 1];
        ASSERT_EQ(seen[at - 1]++, 0);
        EXPECT_GT(get(entry.ticket), ticket);
        EXPECT_NE(get(entry.state), static_cast<uint64_t>(EntryState::Done));
        if (get(entry.state) == static_cast<uint64_t>(EntryState::Running)) {
          ++own_running;
          sms += get(entry.sms);
        }
        ticket = get(entry.ticket);
        last = at;
        ++own;
      }
      EXPECT_EQ(get(connection.last), last);
    }
    EXPECT_EQ(get(client.queued), own);
    EXPECT_EQ(get(client.running), own_running);
    EXPECT_EQ((get(card.active[slot / 64]) >> slot % 64 & 1) != 0, own > 0);
    queued += own;
    running += own_running;
  }
  EXPECT_EQ(get(card.queued), queued);
  EXPECT_EQ(get(card.running_count), running);
  EXPECT_EQ(get(card.used_sms), sms);
  uint64_t free = 0, last = 0;
  for (uint64_t at = get(card.free_first); at != 0; at = get(card.entries[at - 1].next)) {
    ASSERT_EQ(seen[at - 1]++, 0);
    EXPECT_EQ(get(card.entries[at - 1].state), static_cast<uint64_t>(EntryState::Done));
    last = at;
    ++free;
  }
  EXPECT_EQ(get(card.free_last), last);
  EXPECT_EQ(queued + free, get(card.entries_used));
}

// The sums that must hold whenever nobody is inside a transaction.
void expect_consistent(Model& model) {
  model.reclaim_dead();
  Locked locked(model.shared());
  EXPECT_EQ(model.shared().header().undo.count.load(), 0u);
  for (uint32_t i = 0; i < model.card_count(); ++i) {
    Card& card = model.shared().card(i);
    uint64_t used = 0;
    for (const ClientSlot& client : model.shared().header().clients) {
      if (client.state.load() != static_cast<uint64_t>(ClientState::Free))
        used += client.cards[i].memory_bytes.load();
    }
    EXPECT_EQ(card.used_bytes.load(), used);
    EXPECT_LE(card.used_bytes.load(), card.info.memory_bytes);
    expect_lists_consistent(model, i);
  }
}

TEST(Kill, AtRandomMomentsASurvivorNeitherHangsNorLosesMemory) {
  CardFile file({.cards = kAllModes, .slice_ns = kShortSliceNs});
  auto model = file.open();
  auto survivor = attach(*model);
  const int kills = scaled(300);
  uint64_t seed = 1;
  for (int i = 0; i < kills; ++i) {
    const pid_t victim = spawn([&] { work_forever(file); });
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    usleep(static_cast<useconds_t>(500 + (seed >> 40) % 1500));
    kill(victim, SIGKILL);
    const auto before = std::chrono::steady_clock::now();
    ASSERT_TRUE(survivor->reserve(0, kStep));
    for (uint32_t card = 0; card < kCards; ++card) {
      survivor->wait_done(card, survivor->submit(card, {.duration_ns = 1000}));
    }
    survivor->release(0, kStep);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
    waitpid(victim, nullptr, 0);
    expect_consistent(*model);
    EXPECT_EQ(model->live_clients(), 1u);
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_EQ(model->usage(0).used_bytes, 0u);
}

TEST(Kill, ADeadOwnersQueueIsCancelled) {
  CardFile file({.cards = kAllModes, .slice_ns = kShortSliceNs});
  auto model = file.open();
  auto survivor = attach(*model);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t victim = spawn([&] {
    auto own = file.open();
    auto client = attach(*own);
    for (uint32_t card = 0; card < kCards; ++card) {
      for (int i = 0; i < 100; ++i) client->submit(card, {.duration_ns = 100'000 * kMs});
    }
    (void)!write(ready[1], "x", 1);
    pause();
  });
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  std::vector<uint64_t> tickets;
  for (uint32_t card = 0; card < kCards; ++card) {
    tickets.push_back(survivor->submit(card, {.duration_ns = kMs}));
  }
  kill(victim, SIGKILL);
  const auto before = std::chrono::steady_clock::now();
  // 100 * 100 s of the dead process are in front of them.
  for (uint32_t card = 0; card < kCards; ++card) survivor->wait_done(card, tickets[card]);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  waitpid(victim, nullptr, 0);
  expect_consistent(*model);
  close(ready[0]);
  close(ready[1]);
}

TEST(Kill, ExecGivesEverythingBack) {
  CardFile file({.cards = "1:H100-80G"});
  auto model = file.open();
  int done[2];
  ASSERT_EQ(pipe(done), 0);  // stays open over exec, so the parent can tell when cat ends
  int input[2];
  ASSERT_EQ(pipe(input), 0);
  const pid_t child = spawn([&] {
    auto own = file.open();
    auto client = attach(*own);
    client->reserve(0, kStep);
    dup2(input[0], 0);
    dup2(done[1], 1);
    execlp("cat", "cat", nullptr);
  });
  ASSERT_EQ(write(input[1], "x", 1), 1);
  char byte;
  ASSERT_EQ(read(done[0], &byte, 1), 1);  // cat runs: the same process, another program
  EXPECT_EQ(model->live_clients(), 0u);
  EXPECT_EQ(model->usage(0).used_bytes, 0u);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  for (const int fd : {done[0], done[1], input[0], input[1]}) close(fd);
}

TEST(Kill, InVirtualTimeTheOthersGoOn) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true, .start_clients = 2});
  const pid_t victim = spawn([&] {
    auto own = file.open();
    auto client = attach(*own, 1);
    pause();  // runs, as far as virtual time can tell
  });
  auto model = file.open();
  auto client = attach(*model, 0);
  kill(victim, SIGKILL);
  client->wait_done(0, client->submit(0, {.duration_ns = 7 * kMs}));
  EXPECT_EQ(model->now(), 7 * kMs);
  waitpid(victim, nullptr, 0);
}

// Runs `body` in a traced child that stops itself before it, and kills it after `steps` instructions. False
// when it got to its end before.
bool kill_after(uint64_t steps, const std::function<void()>& prepare, const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    prepare();
    raise(SIGSTOP);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  bool running = WIFSTOPPED(status);
  for (uint64_t i = 0; running && i < steps; ++i) {
    ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr);
    waitpid(child, &status, 0);
    running = WIFSTOPPED(status);
  }
  if (running) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  return running;
}

bool can_trace() {
  const pid_t child = fork();
  if (child == 0) _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Kills at instructions spread over each operation, from its first to its last.
TEST(Kill, AtChosenInstructionsOfEachOperation) {
  if (!can_trace()) GTEST_SKIP() << "this machine does not allow ptrace";
  CardFile file({.cards = kAllModes, .slice_ns = kShortSliceNs});
  auto model = file.open();
  auto survivor = attach(*model);
  std::unique_ptr<Model> own;
  std::unique_ptr<Client> client;
  const auto prepare = [&] {
    own = file.open();
    client = attach(*own);
    client->reserve(0, kStep);
    for (uint32_t card = 0; card < kCards; ++card) {  // something to finish and to preempt
      for (uint64_t i = 0; i < 3; ++i) client->submit(card, {.duration_ns = 500 * i, .sms = 70, .stream = i});
    }
  };
  const std::vector<std::pair<const char*, std::function<void()>>> operations = {
      {"reserve", [&] { client->reserve(0, kStep); }},
      {"release", [&] { client->release(0, kStep); }},
      {"submit, fifo", [&] { client->submit(0, {.duration_ns = 1000}); }},
      {"submit, time-sliced", [&] { client->submit(1, {.duration_ns = 1000}); }},
      {"submit, overlapping", [&] { client->submit(2, {.duration_ns = 1000, .sms = 1, .stream = 3}); }},
      {"add_context", [&] { client->add_context(0); }},
      {"usage",
       [&] {
         for (uint32_t card = 0; card < kCards; ++card) (void)own->usage(card).used_bytes;
       }},
      {"detach", [&] { client->detach(); }},
  };
  const int kills_per_operation = scaled(12);
  for (const auto& [name, operation] : operations) {
    SCOPED_TRACE(name);
    // Its length, by doubling; then that many instructions in equal strides.
    uint64_t length = 64;
    while (length < 1 << 16 && kill_after(length, prepare, operation)) length *= 2;
    for (int i = 0; i < kills_per_operation; ++i) {
      kill_after(length * static_cast<uint64_t>(i) / static_cast<uint64_t>(kills_per_operation), prepare,
                 operation);
      ASSERT_TRUE(survivor->reserve(0, kStep));
      survivor->release(0, kStep);
      expect_consistent(*model);
      EXPECT_EQ(model->usage(0).used_bytes, 0u);
      EXPECT_EQ(model->live_clients(), 1u);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace tweendeck::softgpu
