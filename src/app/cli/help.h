// Help texts and the reference page, generated from the command table. Pure.
#pragma once

#include <string>
#include <vector>

#include "app/cli/command.h"

namespace tweendeck::cli {

std::string overview(const std::vector<Command>& commands);
std::string help_of(const Command& command);

// docs/reference/cli.md, exit-codes.md and reasons.md; a test checks that the files are current.
std::string cli_reference(const std::vector<Command>& commands);
std::string exit_code_reference();
std::string reason_reference();

}  // namespace tweendeck::cli
