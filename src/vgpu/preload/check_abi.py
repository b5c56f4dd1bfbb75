"""Holds libtweendeck-vgpu.so to what it may need: it is loaded into images much older than the build machine.

usage: check_abi.py LIBRARY. Fails on a glibc symbol newer than 2.17, on a library besides libc and libdl, on an undefined
symbol without a version (a C++ runtime's), and on an export that driver.calls does not name.
"""
import pathlib
import re
import subprocess
import sys

import calls_table

NEWEST_GLIBC = (2, 17)
NEEDED = {"libc.so.6", "libdl.so.2"}
WEAK_OF_THE_TOOLCHAIN = {"__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    library, faults = sys.argv[1], []
    for name in re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", library)):
        if name not in NEEDED:
            faults.append(f"needs {name}")
    exports = set()
    for line in run("objdump", "-T", library).splitlines():
        match = re.match(r"[0-9a-f]+ .*?(\*UND\*|\.\S+)\s+[0-9a-f]+\s+(?:\(?(\S*?)\)?\s+)?(\S+)$", line)
        if not match:
            continue
        section, version, symbol = match.groups()
        if section != "*UND*":
            exports.add(symbol)
            continue
        numbers = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version or "")
        if not numbers:
            if symbol not in WEAK_OF_THE_TOOLCHAIN:
                faults.append(f"{symbol} is undefined and not of glibc ({version})")
        elif tuple(map(int, numbers.groups())) > NEWEST_GLIBC:
            faults.append(f"{symbol} needs {version}")
    table = calls_table.read(pathlib.Path(__file__).with_name("driver.calls"))
    wanted = {call.symbol for call in table.calls if call.wrapped} | {"dlsym"}
    faults += [f"{symbol} has a wrapper in driver.calls and is not exported" for symbol in sorted(wanted - exports)]
    faults += [f"{symbol} is exported and has no wrapper in driver.calls" for symbol in sorted(exports - wanted)]
    print("\n".join(faults) or f"{library}: {len(exports)} exports, ok")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
