"""What a command shows on stderr: imcap's log as plain lines, nothing while libraries load."""

from __future__ import annotations

import subprocess
import sys

import processes


def stderr_of(program: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=processes.ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stderr


def test_imcap_s_log_is_plain_lines_and_libraries_show_only_warnings(tmp_path):
    (tmp_path / "library.py").write_text(
        "from absl import logging\nlogging.info('chatter')\nlogging.warning('trouble')\n"
    )
    program = f"""
import sys
from absl import logging
from imcap import filesystem
from imcap.command_line import console
console.show_log()
ours = compile("logging.info('%d images', 3)", filesystem.__file__, 'exec')
exec(ours)
sys.path.insert(0, {str(tmp_path)!r})
import library
"""
    assert stderr_of(program) == "3 images\nwarning: trouble\n"


def test_a_log_line_does_not_break_a_progress_bar():
    program = """
import os, sys
from absl import logging
from imcap import progress
from imcap.command_line import console
console.show_log()
with progress.bar('work', 'step', 2, mininterval=0) as bar:
    bar.update()
    logging.warning('halfway')
    bar.update()
"""
    lines = stderr_of(program).replace("\r", "\n").splitlines()
    assert [line for line in lines if "halfway" in line] == ["warning: halfway"]


def test_loading_tensorflow_shows_nothing():
    program = """
from imcap.command_line import console
with console.quiet():
    import tensorflow_text
"""
    assert stderr_of(program) == ""


def test_libraries_are_loaded_without_garbage_collections():
    program = """
import gc
from imcap.command_line import console
with console.quiet():
    assert not gc.isenabled()
    with console.quiet():
        pass
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count()
"""
    assert stderr_of(program) == ""


def test_the_redirect_ends_with_the_block():
    program = """
import sys
from imcap.command_line import console
with console.quiet():
    print(1, file=sys.stderr, flush=True)
print(2, file=sys.stderr)
"""
    assert stderr_of(program) == "2\n"
