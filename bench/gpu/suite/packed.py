"""What was brought along: a build of the tree, or else a portable pack. Only what starts on this machine counts."""
import pathlib
import subprocess
import tarfile

from suite import lines
from suite.setting import ROOT

TRY_S = 20
PACKS = "build/tweendeck-*-linux-*.tar.gz"  # as scripts/portable names them


def unpack(setting):
    """Folder of the newest pack, or None."""
    packs = sorted(ROOT.glob(PACKS), key=lambda path: path.stat().st_mtime)
    if not packs:
        return None
    target = setting.path("pack", "x").parent
    with tarfile.open(packs[-1]) as pack:
        pack.extractall(target, filter="data") if hasattr(tarfile, "data_filter") else pack.extractall(target)
    return target


def starts(path, *words):
    try:
        done = subprocess.run([path, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TRY_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    # 126, 127: the loader found no interpreter or no library.
    return done.returncode not in (126, 127) and done.returncode >= 0, done.stdout.strip()[-300:]


def find(setting):
    """Paths by name: library, probe, pages, tweendeck."""
    found = {}
    pack, build = unpack(setting), pathlib.Path(setting.build)
    places = {"library": [(build, "lib/libtweendeck-vgpu.so"), (pack, "*/lib/tweendeck/libtweendeck-vgpu.so")],
              "tweendeck": [(build, "tweendeck"), (pack, "*/bin/tweendeck")],
              "probe": [(build, "bin/gpu_probe")], "pages": [(build, "bin/gpu_pages")]}
    for name, globs in places.items():
        for folder, glob in globs:
            for path in sorted(folder.glob(glob)) if folder and folder.is_dir() else []:
                if name in found or not path.is_file():
                    continue
                good, said = (True, "") if name == "library" else starts(str(path), "version")
                if good:
                    found[name] = str(path)
                else:
                    lines.skip(f"{name} of {path.name}", said)
    return found
