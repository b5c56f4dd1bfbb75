#include "device/providers/soft/soft_provider.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/text.h"

extern char** environ;

namespace tweendeck::device {
namespace {

constexpr const char* kStateVariable = "TWEENDECK_SOFTGPU_STATE";
constexpr const char* kNewSuffix = ".new";
constexpr mode_t kModelMode = 0666;  // replicas of all users are attached to it
constexpr size_t kMaxToolOutput = 4096;

class SoftProvider final : public nvml::NvmlProvider {
 public:
  explicit SoftProvider(const SoftOptions& options)
      : NvmlProvider({.provider = "soft", .id_prefix = "soft", .vendor = "Tweendeck", .simulated = true},
                     options.pages,
                     {{"LD_LIBRARY_PATH", options.libraries, "softgpu"},
                      {kStateVariable, options.model_path, "softgpu-model", false}}),
        library_(options.libraries + "/libnvidia-ml.so.1") {}

 private:
  Result<std::unique_ptr<nvml::Api>> load() override {
    auto api = nvml::Api::load(library_);
    // These devices were asked for: a library that is there and does not load is a fault, not "no such
    // devices".
    if (!api && api.error().reason == Reason::DriverMissing) {
      return fail(Reason::DriverError, api.error().message, "run `make build`");
    }
    return api;
  }

  std::string library_;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Text that both streams of the tool wrote, and its exit status.
struct ToolRun {
  int status = -1;
  std::string output;
};

Result<ToolRun> run_tool(std::vector<std::string> words) {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return fail(system_error(errno, "cannot make a pipe"));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int code = posix_spawn(&pid, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  ToolRun run;
  char buffer[512];
  for (ssize_t got; code == 0 && (got = read(pipe_ends[0], buffer, sizeof(buffer))) > 0;) {
    if (run.output.size() < kMaxToolOutput) run.output.append(buffer, static_cast<size_t>(got));
  }
  close(pipe_ends[0]);
  if (code != 0) return fail(system_error(code, "cannot run " + words[0]));
  while (waitpid(pid, &run.status, 0) < 0 && errno == EINTR) {
  }
  return run;
}

Status make_folder_of(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return fail(system_error(error.value(), "cannot create the folder of " + path));
  return {};
}

Status write_model(const SoftOptions& options, const std::string& path) {
  ::unlink(path.c_str());
  const Result<ToolRun> run = run_tool({options.tool, "create", "--cards", options.cards, path});
  if (!run) return fail(run.error());
  if (!WIFEXITED(run->status) || WEXITSTATUS(run->status) != 0) {
    return fail(Reason::InvalidArgument,
                "no software GPUs '" + options.cards + "': " + std::string(trim(run->output)),
                "give a count and a model, for example 2:H100-80G");
  }
  return {};
}

Status create_model(const SoftOptions& options) {
  const std::string temporary = options.model_path + kNewSuffix;
  if (Status written = write_model(options, temporary); !written) return written;
  if (chmod(temporary.c_str(), kModelMode) != 0)
    return fail(system_error(errno, "cannot open up " + temporary));
  return {};
}

std::string stamp_path(const std::string& model_path) {
  return model_path + ".cards";
}

// The model's clock starts anew with each boot, so a model lives for one boot.
std::string stamp(const SoftOptions& options) {
  return read_file("/proc/sys/kernel/random/boot_id") + options.cards + "\n";
}

Status ensure_model(const SoftOptions& options) {
  const std::string stamp_file = stamp_path(options.model_path);
  if (std::filesystem::exists(options.model_path) && read_file(stamp_file) == stamp(options)) return {};
  if (Status made = make_folder_of(options.model_path); !made) return made;
  // Cards that cannot be made leave the old ones as they are. Afterwards a crash between the steps makes the
  // model anew at the next start.
  if (Status status = create_model(options); !status) return status;
  ::unlink(stamp_file.c_str());
  if (rename((options.model_path + kNewSuffix).c_str(), options.model_path.c_str()) != 0) {
    return fail(system_error(errno, "cannot put " + options.model_path + " in place"));
  }
  std::ofstream out(stamp_file);
  out << stamp(options);
  out.close();
  if (!out) return fail(system_error(errno, "cannot write " + stamp_file));
  return {};
}

Status check_files(const SoftOptions& options) {
  for (const std::string& needed :
       {options.tool, options.libraries + "/libnvidia-ml.so.1", options.libraries + "/libcuda.so.1"}) {
    if (::access(needed.c_str(), R_OK) != 0) {
      return fail(Reason::DriverMissing, "the software GPU's file " + needed + " is missing",
                  "run `make build`");
    }
  }
  return {};
}

}  // namespace

Status check_soft_options(const SoftOptions& options) {
  if (Status there = check_files(options); !there) return there;
  if (Status made = make_folder_of(options.model_path); !made) return made;
  const std::string trial = options.model_path + ".check";
  const Status written = write_model(options, trial);
  ::unlink(trial.c_str());
  return written;
}

Result<std::unique_ptr<Provider>> make_soft_provider(SoftOptions options) {
  if (Status there = check_files(options); !there) return fail(there.error());
  if (Status status = ensure_model(options); !status) return fail(status.error());
  ::setenv(kStateVariable, options.model_path.c_str(), 1);
  return std::make_unique<SoftProvider>(options);
}

std::string remembered_soft_cards(const std::string& model_path) {
  const std::string text = read_file(stamp_path(model_path));  // boot id, cards
  const size_t line = text.find('\n');
  return line == std::string::npos ? "" : std::string(trim(std::string_view(text).substr(line)));
}

Status remove_soft_cards(const std::string& model_path) {
  for (const std::string& path : {stamp_path(model_path), model_path}) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return fail(system_error(errno, "cannot remove " + path));
  }
  return {};
}

}  // namespace tweendeck::device
