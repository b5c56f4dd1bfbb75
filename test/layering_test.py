"""The build's layering check itself: it passes on the tree and fails on planted includes."""
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHECK = ROOT / "scripts" / "check-layering"


def check(root):
    return subprocess.run([CHECK, root], capture_output=True, text=True, check=False)


def test_the_tree_keeps_its_layers():
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path, line", [
    ("src/placement/x.cc", '#include "routing/router.h"'),
    ("src/placement/x.cc", "#include <sys/socket.h>"),
    ("src/placement/cluster/x.cc", "#include <chrono>"),
    ("src/placement/queue/x.h", '#include "placement/policy/policy.h"'),
    ("src/routing/x.h", '#include "net/json.h"'),
    ("src/routing/gateway/x.cc", '#include "serving/types.h"'),
    ("src/base/x.h", '#include "net/json.h"'),
    ("src/device/journal/x.cc", '#include "device/manager/manager.h"'),
    ("src/serving/x.cc", "#include <thread>"),
    ("src/vgpu/x.cc", '#include "base/result.h"'),
    ("softgpu/x.cc", '#include "vgpu/page.h"'),
    ("engine/sim/x.cc", '#include "net/http.h"'),
    ("src/somewhere/x.cc", "#include <vector>"),
])
def test_a_forbidden_include_fails(tmp_path, path, line):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(line + "\n")
    done = check(tmp_path)
    assert done.returncode == 1
    assert path in done.stderr
