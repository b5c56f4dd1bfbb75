"""The driver's functions: which of them the library's table does not classify."""
import shutil
import subprocess
import sys

from suite import lines
from suite.setting import ROOT

CHECK_S = 30
MOST_NAMED = 40


def run(setting):
    if not shutil.which("nm"):
        lines.skip("table of calls", "no nm (binutils) on this machine")
        return
    if not setting.driver:
        lines.skip("table of calls", "no libcuda.so.1 found")
        return
    done = subprocess.run([sys.executable, ROOT / "scripts" / "check-libcuda", setting.driver, "--missing"], capture_output=True, text=True,
                          timeout=CHECK_S, check=False)
    unknown = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("unclassified ")]
    summary = next((line for line in done.stdout.splitlines() if "driver functions" in line), done.stderr.strip()[-200:])
    lines.check(done.returncode in (0, 1) and not unknown, "functions that the table does not classify", summary.partition(": ")[2] or summary, "none")
    for name in unknown[:MOST_NAMED]:
        lines.note("unclassified", name)
