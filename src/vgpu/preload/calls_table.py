"""Reads driver.calls, the table of driver calls, and makes the library's look-up tables and wrappers of it.

usage: calls_table.py DRIVER_CALLS FOLDER. Writes calls_enum.inc, calls_rows.inc, calls_text.inc and one wrappers_<section>.inc
per section. Rows name their text by where it is in calls_text.inc: a pointer would have to be relocated in every process.
A wrapper finds the driver's function, stands aside when the process is in no slice, and else calls on_<symbol>(ask,
[form,] arguments...), which the section's file defines. Control and launch calls go there in any case. A launch that the
thread's lease pays for, as is_paid_<symbol>([form,] arguments...) says, does nothing but jump to the driver.

Compilers load all parameters that come on the stack and store them again for the jump, which would be half of such a
launch. On x86-64 the parameters behind the sixth are therefore one structure by value: the same place, and it stays there.
"""
import pathlib
import re
import sys
from typing import NamedTuple

CLASSES = ("control", "allocate", "free", "launch", "import", "query", "load", "refuse", "copy", "pass")
UNWRAPPED = "listed"
REGISTERS = 6  # arguments of the x86-64 ABI that are none of them floating-point
ROW = re.compile(r"(\w+)\s+(\w+)\s+(\d+)(?:\s+(ptsz|ptds))?(?:\s+(\(.*\)))?")
ALIAS = re.compile(r"alias\s+(\w+)\s+(\d+)\s+(\w+)")


class Call(NamedTuple):
    """One exported symbol. `base` has the signature; a per-thread form shares it with its plain form."""
    section: str
    klass: str
    symbol: str
    name: str
    since: int
    form: str  # Any, Legacy, PerThread
    base: str
    signature: str

    @property
    def wrapped(self):
        return bool(self.signature)


class Table(NamedTuple):
    calls: list
    aliases: list  # (name, since, symbol)
    newest: int


def name_of(symbol):
    return re.sub(r"_v\d+$", "", symbol)


def read(path):
    calls, aliases, section, newest = [], [], None, 0
    for number, line in enumerate(pathlib.Path(path).read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text[0] == "[":
            section = text[1:-1]
            continue
        if text.startswith("newest "):
            newest = int(text.split()[1])
            continue
        if alias := ALIAS.fullmatch(text):
            aliases.append((alias[1], int(alias[2]), alias[3]))
            continue
        row = ROW.fullmatch(text)
        if not row or row[1] not in CLASSES or section is None or bool(row[5]) == (section == UNWRAPPED):
            raise SystemExit(f"{path}:{number}: not a row of the table: {text}")
        klass, symbol, since, suffix, signature = row.groups()
        if klass in ("allocate", "launch") and not signature:
            raise SystemExit(f"{path}:{number}: {klass} without a wrapper: {text}")
        nvml = symbol.startswith("nvml")
        name = None if nvml else name_of(symbol)
        forms = [("Legacy", symbol), ("PerThread", f"{symbol}_{suffix}")] if suffix else [("Any", symbol)]
        calls += [Call(section, klass, full, name, int(since), form, symbol, signature or "") for form, full in forms]
    symbols = [call.symbol for call in calls]
    twice = sorted({s for s in symbols if symbols.count(s) > 1})
    unknown = sorted({symbol for _, _, symbol in aliases} - set(symbols))
    if twice or unknown:
        raise SystemExit(f"{path}: listed twice: {twice}; alias of nothing: {unknown}")
    return Table(calls, aliases, newest)


def parameters(signature):
    """[(type, name)] of a signature."""
    inside = signature.strip()[1:-1].strip()
    if inside == "void":
        return []
    found = []
    for part in filter(None, (p.strip() for p in inside.split(","))):
        match = re.fullmatch(r"(.*?[\s*])(\w+)", part)
        if not match:
            raise SystemExit(f"no name for the parameter {part!r} in {signature}")
        found.append((match[1].strip(), match[2]))
    return found


def enum_lines(table):
    wrapped = sorted(call.symbol for call in table.calls if call.wrapped)
    return [f"kCall_{symbol}," for symbol in wrapped] + ["kCalls,", f"kNewestVersion = {table.newest},"]


class Texts:
    """The characters of all names, each once and with a zero behind."""

    def __init__(self, names):
        self.names, self.places, place = sorted(set(names)), {}, 0
        for name in self.names:
            self.places[name] = place
            place += len(name) + 1
        assert place < 1 << 16, "the rows have sixteen bits for it"

    def lines(self):
        return [f'"{name}\\0"' for name in self.names]


def texts_of(table):
    return Texts([c.symbol for c in table.calls] + [c.name for c in table.calls if c.name] + [name for name, _, _ in table.aliases])


def row_lines(table, texts):
    """Rows of kCallInfo in the order of the enum, then two sorted indexes: symbols, and names for cuGetProcAddress."""
    at = texts.places
    wrapped = sorted((call for call in table.calls if call.wrapped), key=lambda call: call.symbol)
    lines = [f'TW_CALL({c.symbol}, {at[c.symbol]}, {c.form}, {c.klass.capitalize()})' for c in wrapped]
    number = {call.symbol: f"kCall_{call.symbol}" for call in wrapped}
    for call in sorted(table.calls, key=lambda c: c.symbol):
        lines.append(f'TW_SYMBOL({at[call.symbol]}, {number.get(call.symbol, "kCalls")})')
    of = {call.symbol: call for call in table.calls}
    names = [(c.name, c.since, c.form, c.symbol) for c in table.calls if c.name]
    names += [(name, since, of[symbol].form, symbol) for name, since, symbol in table.aliases]
    for name, since, form, symbol in sorted(names):
        lines.append(f'TW_NAME({at[name]}, {since}, {form}, {number.get(symbol, "kCalls")})')
    return lines


def wrapper_lines(call):
    params = parameters(call.signature)
    plain = lines_for(call, params, params, [name for _, name in params], [])
    if call.klass != "launch" or len(params) <= REGISTERS:
        return plain
    stacked = f"Stacked_{call.symbol}"
    fields = "; ".join(f"alignas(8) {kind} {name}" for kind, name in params[REGISTERS:])
    taken = params[:REGISTERS] + [(stacked, "rest")]
    names = [name for _, name in params[:REGISTERS]] + [f"rest.{name}" for _, name in params[REGISTERS:]]
    folded = lines_for(call, params, taken, names, [f"struct {stacked} {{ {fields}; }};"])
    return ["#if defined(__x86_64__)", *folded, "#else", *plain, "#endif"]


def lines_for(call, params, taken, values, before):
    """The wrapper with the parameters `taken`, whose `values` are what the table's `params` say."""
    nvml = call.symbol.startswith("nvml")
    result = "nvmlReturn_t" if nvml else "CUresult"
    absent = "NVML_ERROR_FUNCTION_NOT_FOUND" if nvml else "CUDA_ERROR_NOT_SUPPORTED"
    types = ", ".join(kind for kind, _ in params)
    declared = ", ".join(f"{kind} {name}" for kind, name in taken)
    names = ", ".join(values)
    handler = ", ".join(filter(None, ["ask", f"Form::{call.form}" if call.form != "Any" else "", names]))
    function, fast = f"TW_EXPORT {result} {call.symbol}", []
    if call.klass == "launch":
        function = f"__attribute__((noinline)) static {result} slow_{call.symbol}"
        taken_types, passed = ", ".join(kind for kind, _ in taken), ", ".join(name for _, name in taken)
        fast = [f"TW_EXPORT {result} {call.symbol}({declared}) {{",
                f"  if (__builtin_expect(is_paid_{call.base}(Form::{call.form}, {names}), 1)) {{",
                f"    if (auto* const ask = known<{result}({taken_types})>(kCall_{call.symbol})) return ask({passed});",
                "  }", f"  return slow_{call.symbol}({passed});", "}"]
    lines = [*before, f"{function}({declared}) {{",
             f"  auto* const ask = real<{result}({types})>(kCall_{call.symbol});",
             f"  if (!ask) return {absent};"]
    if call.klass in ("allocate", "import", "load"):
        lines += ["  const Mode now = mode_attached();",
                  f"  if (now == Mode::Inert) return ask({names});",
                  "  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;"]
    elif call.klass in ("free", "query", "refuse"):
        lines.append(f"  if (mode() != Mode::Limited) return ask({names});")
    if call.klass == "refuse":
        lines += ["  count_refusal(0, TW_VGPU_REFUSED_CALL);", "  return CUDA_ERROR_NOT_SUPPORTED;"]
    else:
        lines.append(f"  return on_{call.base}({handler});")
    return lines + ["}"] + fast


def write(folder, name, lines):
    path = pathlib.Path(folder) / name
    path.write_text("\n".join(["// Made from driver.calls by calls_table.py."] + lines) + "\n")


def main():
    table, folder = read(sys.argv[1]), sys.argv[2]
    write(folder, "calls_enum.inc", enum_lines(table))
    texts = texts_of(table)
    write(folder, "calls_rows.inc", row_lines(table, texts))
    write(folder, "calls_text.inc", texts.lines())
    for section in dict.fromkeys(call.section for call in table.calls):
        if section != UNWRAPPED:
            mine = [call for call in table.calls if call.section == section]
            write(folder, f"wrappers_{section}.inc", [line for call in mine for line in wrapper_lines(call)])


if __name__ == "__main__":
    main()
