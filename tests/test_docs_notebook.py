"""docs/demo.ipynb: its commands exist, and its Python cells run."""

from __future__ import annotations

import json
import sys
import types

import grey_model
import processes

NOTEBOOK = json.loads((processes.ROOT / "docs" / "demo.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
COMMANDS = [line[1:] for cell in CELLS for line in cell.splitlines() if line.startswith("!")]


def test_the_commands_are_those_of_the_demo():
    makefile = (processes.ROOT / "Makefile").read_text(encoding="utf-8")
    steps = [line.split()[1] for line in COMMANDS]
    assert steps == ["pretrain", "records", "train", "eval", "export"]
    assert all(f"$(RUN) {step} $(DEMO_FLAGS)" in makefile for step in steps)


def test_the_python_cells_run(tmp_path, monkeypatch, capsys):
    grey_model.export(tmp_path / "run" / "export" / "1")
    images = tmp_path / "run" / "shapes" / "images"
    images.mkdir(parents=True)
    (images / "dev-00000.jpg").write_bytes(grey_model.png(64))
    shown: list[str] = []
    display = types.SimpleNamespace(Image=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    for cell in CELLS:
        if cell[0] not in "!%":
            exec(compile(cell, "cell", "exec"), {})
    assert shown == ["run/eval/dev/captions.png"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "run/shapes/images/dev-00000.jpg grey 64"


def test_no_output_is_stored():
    assert [cell for cell in NOTEBOOK["cells"] if cell.get("outputs")] == []
