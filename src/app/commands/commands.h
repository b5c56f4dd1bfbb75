// Every command's table entry; one file per command. all_commands() is their order in the overview.
#pragma once

#include <string_view>
#include <vector>

#include "app/cli/command.h"

namespace tweendeck::commands {

// Headings of the overview.
inline constexpr std::string_view kGroupDaemon = "Daemon";
inline constexpr std::string_view kGroupServe = "Serve models";
inline constexpr std::string_view kGroupLook = "Look";
inline constexpr std::string_view kGroupOther = "Other";

cli::Command up_command();
cli::Command down_command();
cli::Command serve_command();
cli::Command apply_command();
cli::Command scale_command();
cli::Command stop_command();
cli::Command resize_command();
cli::Command pause_command();
cli::Command resume_command();
cli::Command exec_command();
cli::Command picker_command();
cli::Command run_command();
cli::Command bench_command();
cli::Command ps_command();
cli::Command top_command();
cli::Command devices_command();
cli::Command slices_command();
cli::Command why_command();
cli::Command events_command();
cli::Command logs_command();
cli::Command doctor_command();
cli::Command simulate_command();
cli::Command tokenize_command();
cli::Command help_command();
cli::Command completion_command();
cli::Command complete_words_command();  // hidden: what the completion scripts call
cli::Command reference_command();       // hidden: writes the pages of docs/reference
cli::Command version_command();

// Flags of a slice's share that every command with slices takes alike.
std::vector<cli::Flag> tuning_flags();

const std::vector<cli::Command>& all_commands();

}  // namespace tweendeck::commands
