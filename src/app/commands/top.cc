#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <signal.h>

#include <atomic>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/screen.h"
#include "base/text.h"

namespace tweendeck::commands {
namespace {

constexpr size_t kPlainColumns = 200;  // without a terminal nothing is cut that a person would want
constexpr size_t kPlainRows = 10'000;

std::atomic<bool> g_stop{false};
void on_signal(int) {
  g_stop = true;
}

// The alternate screen without cursor and echo; what was there before comes back at the end.
class FullScreen {
 public:
  explicit FullScreen(std::FILE* out) : out_(out) {
    if (isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before_) == 0) {
      termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &raw);
      restore_ = true;
    }
    std::fputs("\x1b[?1049h\x1b[?25l", out_);
  }
  ~FullScreen() {
    std::fputs("\x1b[?25h\x1b[?1049l", out_);
    std::fflush(out_);
    if (restore_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;

  // Overwrites line by line and erases what is left of the frame before, so that nothing flickers.
  void show(const std::string& frame) {
    std::string text = "\x1b[H";
    for (std::string_view line : split(frame, '\n')) text += fmt::format("{}\x1b[K\r\n", line);
    text += "\x1b[J";
    std::fwrite(text.data(), 1, text.size(), out_);
    std::fflush(out_);
  }

 private:
  std::FILE* out_;
  termios before_{};
  bool restore_ = false;
};

// Waits for a key; true when it asks to end.
bool quit_pressed(int timeout_ms) {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (poll(&input, 1, timeout_ms) <= 0 || (input.revents & POLLIN) == 0) return false;
  char key = 0;
  return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == '\x1b';
}

Result<Snapshot> take(client::LocalApi& api) {
  SystemClock clock;
  Snapshot snapshot;
  struct Part {
    const char* path;
    net::JsonValue* into;
  };
  for (Part part : {Part{"/v1/devices", &snapshot.devices}, Part{"/v1/deployments", &snapshot.deployments},
                    Part{"/v1/endpoints", &snapshot.endpoints}}) {
    Result<client::ApiAnswer> answer = api.get(part.path);
    if (!answer) return fail(answer.error());
    *part.into = std::move(answer->json);
  }
  snapshot.at = clock.now();
  snapshot.wall_ns = clock.wall_now();
  return snapshot;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  if (output.json) {
    net::JsonWriter w;
    w.object();
    for (const char* part : {"devices", "deployments", "endpoints"}) {
      Result<client::ApiAnswer> answer = api->get(fmt::format("/v1/{}", part));
      if (!answer) return fail(answer.error());
      w.field(part, answer->json[part]);
    }
    w.end();
    output.line(w.text());
    return 0;
  }
  Result<Snapshot> before = take(*api);
  if (!before) return fail(before.error());
  auto interval_ms =
      static_cast<int>(std::max<Nanos>(in.duration("interval"), 100 * kMillisecond) / kMillisecond);
  if (!output.out_is_terminal || in.on("once")) {
    // Rates need two moments.
    poll(nullptr, 0, interval_ms);
    Result<Snapshot> now = take(*api);
    if (!now) return fail(now.error());
    output.print(
        draw(*before, *now, {.columns = kPlainColumns, .rows = kPlainRows, .color = output.out_color}));
    return 0;
  }
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  Status ended;
  {
    FullScreen screen(output.out);
    while (!g_stop) {
      Result<Snapshot> now = take(*api);
      if (!now) {
        ended = fail(now.error());
        break;
      }
      FrameSize size{.columns = cli::terminal_columns(STDOUT_FILENO),
                     .rows = cli::terminal_rows(STDOUT_FILENO) - 2,
                     .color = output.out_color};
      screen.show(fmt::format("tweendeck top  {}  q ends\n{}", format_time(now->wall_ns).substr(11, 8),
                              draw(*before, *now, size)));
      before = std::move(now);
      if (quit_pressed(interval_ms)) break;
    }
  }
  if (!ended) return fail(ended.error());
  return 0;
}

}  // namespace

cli::Command top_command() {
  return {.name = "top",
          .group = kGroupLook,
          .summary = "Watch devices, slices and replicas live",
          .about =
              "Held = promised to slices; per slice what it uses of its share. Without a terminal it prints "
              "once.",
          .flags = {{.name = "interval",
                     .kind = cli::FlagKind::Duration,
                     .fallback = "1s",
                     .help = "between two looks"},
                    {.name = "once", .help = "print once and end"}},
          .examples = {{"top", "q ends it"}},
          .run = run};
}

}  // namespace tweendeck::commands
