"""One finding per line: written by a part as JSON the moment it is known, shown as a row of the record."""
import json
import sys

PASS, FAIL, NOTE, SKIP = "pass", "FAIL", "-", "skip"


def _write(verdict, what, got, bound=""):
    print(json.dumps({"verdict": verdict, "what": what, "got": str(got), "bound": bound}), flush=True)


def check(ok, what, got, bound):
    _write(PASS if ok else FAIL, what, got, bound)
    return ok


def timed(setting, ok, what, got, bound):
    """A check of real time: on a software GPU the machine's other work decides, so it is only told."""
    if setting.soft:
        _write(NOTE, what, got, bound)
    else:
        check(ok, what, got, bound)


def note(what, got):
    _write(NOTE, what, got)


def skip(what, why):
    _write(SKIP, what, why)


def row(finding):
    """A row of a Markdown table; what a program printed may hold anything."""
    cells = (" ".join(str(finding.get(key, "")).split()).replace("|", "/") for key in ("verdict", "what", "got", "bound"))
    return "| " + " | ".join(cells) + " |"


def parse(line):
    """The finding in a line of a part's output; None for anything else that it printed."""
    try:
        finding = json.loads(line)
    except ValueError:
        return None
    return finding if isinstance(finding, dict) and "verdict" in finding else None


def say(text):
    """For people who read the part's log."""
    print(text, file=sys.stderr, flush=True)
