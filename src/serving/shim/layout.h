// The contract between tweendeck-shim and the daemon: the files of a replica's directory, the lock, the
// signals.
//
// lock       byte 0 is write-locked by the shim, byte 1 read-locked by the engine and inherited by all its
//            children
//            (open file description locks). No lock on either byte = no process of the replica exists.
// launch.json  written before the engine runs:
//              {"launch","pid","start_ticks","engine_pid","engine_start_ticks","port"}
// exit.json    written at the end:
//              {"launch","code","signal","wall_ns","stopped","error","dropped_log_bytes","tail"}
// log, log.1   the engine's stdout and stderr
// work/        the engine's working directory; it writes status.json there
//
// A shim whose parent dies before launch.json is complete dies with it, so a process without a record cannot
// outlive the daemon that started it.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace tweendeck::shim {

inline constexpr char kLockFile[] = "lock";
inline constexpr char kLaunchFile[] = "launch.json";
inline constexpr char kExitFile[] = "exit.json";
inline constexpr char kLaunchTemp[] =
    "launch.json.tmp";  // renamed when they are whole; their space is reserved before
inline constexpr char kExitTemp[] = "exit.json.tmp";
inline constexpr char kLogFile[] = "log";
inline constexpr char kOldLogFile[] = "log.1";
inline constexpr char kWorkDir[] = "work";
inline constexpr char kStatusFile[] = "work/status.json";

inline constexpr int64_t kShimLockByte = 0;
inline constexpr int64_t kEngineLockByte = 1;

inline constexpr int kStopSignal =
    SIGTERM;  // to the shim: the engine's stop signal, then SIGKILL after the grace
inline constexpr int kKillSignal = SIGUSR1;  // to the shim: SIGKILL to the engine now, exit record as usual

inline constexpr char kSandboxTop[] = "/run/tweendeck";  // replaced by an own tmpfs inside the sandbox
inline constexpr char kSandboxRoot[] = "/run/tweendeck/sandbox";

inline constexpr size_t kTailLines = 20;       // of the log, kept in exit.json
inline constexpr size_t kTailLineBytes = 500;  // longer lines are cut
inline constexpr size_t kMaxExitBytes = 64 * 1024;
inline constexpr size_t kMaxLaunchBytes = 4 * 1024;

// Exit statuses of the shim itself.
inline constexpr int kExitUsage = 64;
inline constexpr int kExitFailed = 70;  // no record could be written
inline constexpr int kExitLocked = 75;  // another shim owns the replica

}  // namespace tweendeck::shim
