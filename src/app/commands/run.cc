#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <iterator>

#include "app/cli/terminal.h"
#include "app/client/chat_client.h"
#include "app/client/gateway_target.h"
#include "app/commands/commands.h"
#include "base/text.h"
#include "net/json.h"

namespace tweendeck::commands {
namespace {

constexpr Nanos kWaitStep = 50 * kMillisecond;
constexpr size_t kMaxPromptBytes = 16 << 20;
constexpr int kInterruptedExit = 130;

std::atomic<bool> g_interrupted{false};
void on_interrupt(int) {
  g_interrupted = true;
}

double tokens_per_second(const client::ChatAnswer& answer) {
  double seconds = static_cast<double>(answer.last_token - answer.first_token) / static_cast<double>(kSecond);
  return seconds > 0 && answer.usage.output_tokens > 1
             ? static_cast<double>(answer.usage.output_tokens - 1) / seconds
             : 0;
}

double ttft_ms(const client::ChatAnswer& answer) {
  return static_cast<double>(answer.first_token - answer.sent) / static_cast<double>(kMillisecond);
}

std::string stats_line(const client::ChatAnswer& answer) {
  std::string line = fmt::format("ttft {:.0f} ms, {:.1f} tok/s, {} tokens", ttft_ms(answer),
                                 tokens_per_second(answer), answer.usage.output_tokens);
  if (answer.usage.prompt_tokens > 0) {
    line += fmt::format(", {} of {} prompt tokens cached", answer.usage.cached_tokens,
                        answer.usage.prompt_tokens);
  }
  return answer.replica.empty() ? line : line + ", replica " + answer.replica;
}

std::string answer_json(const std::string& model, const client::ChatAnswer& answer) {
  net::JsonWriter w;
  w.object().field("model", model).field("text", answer.text).field("finish_reason", answer.finish_reason);
  w.field("replica", answer.replica)
      .field("ttft_ms", ttft_ms(answer))
      .field("tokens_per_s", tokens_per_second(answer));
  w.field("prompt_tokens", answer.usage.prompt_tokens)
      .field("cached_prompt_tokens", answer.usage.cached_tokens);
  w.field("output_tokens", answer.usage.output_tokens).end();
  return w.take();
}

class Chat {
 public:
  Chat(const cli::Invocation& in, client::ChatTarget target, cli::Output& output)
      : client_(std::move(target), clock_), output_(output) {
    request_.model = in.arg(0);
    request_.max_tokens = static_cast<uint32_t>(in.count("max-tokens"));
    if (in.is_set("temperature")) request_.temperature = in.number("temperature");
    system_ = in.text("system");
    reset();
  }

  // One question and its streamed answer, which joins the history.
  Result<client::ChatAnswer> ask(std::string question) {
    request_.messages.push_back({"user", std::move(question)});
    client::ChatAnswer answer;
    auto on_text = [this](std::string_view text) {
      if (output_.json) return;
      output_.print(text);
      output_.flush();
    };
    client_.start(request_, on_text, [&](const client::ChatAnswer& done) { answer = done; });
    while (client_.active() > 0 && !g_interrupted) {
      if (Status moved = client_.wait(kWaitStep); !moved) return fail(moved.error());
    }
    if (g_interrupted) {
      client_.cancel_all();
      answer.status = fail(Reason::Cancelled, "the answer was cut off", "");
    }
    if (!answer.status) {
      request_.messages.pop_back();
      return fail(answer.status.error());
    }
    request_.messages.push_back({"assistant", answer.text});
    return answer;
  }

  void reset() {
    request_.messages.clear();
    if (!system_.empty()) request_.messages.push_back({"system", system_});
  }

 private:
  SystemClock clock_;
  client::ChatClient client_;
  client::ChatRequest request_;
  std::string system_;
  cli::Output& output_;
};

Error with_advice(Error error, const std::string& model) {
  if (error.reason == Reason::UnknownModel && error.hint.empty()) {
    error.hint =
        fmt::format("serve it with `tweendeck serve {}`; `tweendeck ps` lists what is served", model);
  }
  return error;
}

Result<int> ask_once(Chat& chat, const std::string& model, std::string prompt, cli::Output& output) {
  Result<client::ChatAnswer> answer = chat.ask(std::move(prompt));
  if (!answer && g_interrupted) return kInterruptedExit;
  if (!answer) return fail(with_advice(answer.error(), model));
  if (output.json) {
    output.line(answer_json(model, *answer));
    return 0;
  }
  output.line("");
  output.flush();
  output.note(cli::paint(stats_line(*answer), cli::Style::Dim, output.err_color));
  return 0;
}

// Reads a line from the terminal; false at its end. Ctrl-C drops the line.
bool read_question(cli::Output& output, std::string& line) {
  output.print("> ");
  output.flush();
  std::cin.clear();
  if (std::getline(std::cin, line)) return true;
  if (!g_interrupted) return false;
  line = "/exit";
  return true;
}

Result<int> converse(Chat& chat, const std::string& model, cli::Output& output) {
  output.note(fmt::format(
      "chat with {}; /reset forgets the conversation, /exit ends it, Ctrl-C cuts an answer off", model));
  for (std::string line; read_question(output, line);) {
    std::string question(trim(line));
    g_interrupted = false;
    if (question.empty()) continue;
    if (question == "/exit" || question == "/quit") break;
    if (question == "/reset") {
      chat.reset();
      continue;
    }
    if (question.starts_with('/')) {
      output.note("commands are /reset and /exit");
      continue;
    }
    Result<int> asked = ask_once(chat, model, std::move(question), output);
    if (!asked)
      output.error(asked.error());
    else if (*asked == kInterruptedExit)
      output.note("\n(cut off)");
  }
  return 0;
}

Result<std::string> prompt_from_stdin() {
  std::string prompt((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  if (trim(prompt).empty()) {
    return fail(Reason::InvalidArgument, "the prompt is empty",
                "give one: tweendeck run MODEL \"...\", or by stdin");
  }
  if (prompt.size() > kMaxPromptBytes) {
    return fail(Reason::LimitExceeded,
                fmt::format("the prompt has {} bytes, the limit is {}", prompt.size(), kMaxPromptBytes));
  }
  return prompt;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::ChatTarget> target = client::gateway_target(in);
  if (!target) return fail(target.error());
  target->timeout = in.duration("timeout");
  struct sigaction action{};
  action.sa_handler = on_interrupt;  // without SA_RESTART: Ctrl-C also ends the reading of a line
  sigaction(SIGINT, &action, nullptr);
  Chat chat(in, *target, output);
  bool from_terminal = isatty(STDIN_FILENO) == 1;
  if (in.arg_count() == 1 && from_terminal && !output.json) return converse(chat, in.arg(0), output);
  std::string prompt;
  for (size_t i = 1; i < in.arg_count(); ++i) prompt += (i > 1 ? " " : "") + in.arg(i);
  if (in.arg_count() == 1 || prompt == "-") {
    Result<std::string> text = prompt_from_stdin();
    if (!text) return fail(text.error());
    prompt = std::move(*text);
  }
  return ask_once(chat, in.arg(0), std::move(prompt), output);
}

}  // namespace

cli::Command run_command() {
  using cli::FlagKind;
  std::vector<cli::Flag> flags = {
      {.name = "max-tokens",
       .kind = FlagKind::Count,
       .fallback = "512",
       .help = "longest answer",
       .max = 1'000'000},
      {.name = "temperature",
       .kind = FlagKind::Number,
       .help = "0 = always the likeliest word (default: the engine's)"},
      {.name = "system", .kind = FlagKind::Text, .help = "instruction that stands before the conversation"},
      {.name = "timeout",
       .kind = FlagKind::Duration,
       .fallback = "600s",
       .help = "longest wait for one answer"}};
  for (cli::Flag& flag : client::gateway_flags()) flags.push_back(std::move(flag));
  return {.name = "run",
          .group = kGroupServe,
          .summary = "Ask a served model something, or chat with it",
          .about =
              "With a PROMPT (or one on stdin) it answers once; without, in a terminal, it keeps a "
              "conversation. After each\n"
              "answer: time to first token, tokens per second, and how many prompt tokens the replica still "
              "had cached.",
          .args = {{.name = "MODEL", .help = "a served model", .complete = cli::Complete::Deployment},
                   {.name = "PROMPT",
                    .help = "the question; - reads it from stdin",
                    .required = false,
                    .rest = true}},
          .flags = std::move(flags),
          .examples = {{"run smollm2 \"What is the capital of France?\"", "one answer"},
                       {"run smollm2", "a conversation"},
                       {"run smollm2 --max-tokens 50 < question.txt", "a prompt from a file"}},
          .run = run};
}

}  // namespace tweendeck::commands
