"""HTML files: every text escaped, and the file replaced as a whole."""

from __future__ import annotations

import dataclasses
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_pages import HOSTILE, IMAGE, Page, hostile_image, write

from imcap.errors import UserError


def test_markup_is_escaped(tmp_path):
    plain = Page(
        write(tmp_path, [hostile_image("x")], title="x", scores={"x": 1}, settings={"x": "x"})
    )
    for text in HOSTILE:
        parts = {"title": text, "scores": {text: text}, "settings": {text: text}}
        page = Page(write(tmp_path, [hostile_image(text)], **parts))
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
        assert [list(a) for _, a in page.tags] == [list(a) for _, a in plain.tags]
        assert page.text.count(text) >= 7


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1))
def test_any_text_is_read_back_unchanged(tmp_path_factory, text):
    page = Page(write(tmp_path_factory.mktemp("any"), [dataclasses.replace(IMAGE, caption=text)]))
    assert text in page.text and len(page.all("script")) == 1


def test_file_name_that_is_not_unicode_is_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    assert "caf?.jpg" in write(tmp_path, [dataclasses.replace(IMAGE, image_id=name)])


def test_failure_keeps_the_former_report(tmp_path):
    class Unprintable:
        def __str__(self):
            raise RuntimeError("cannot be printed")

    former = write(tmp_path, [IMAGE])
    with pytest.raises(RuntimeError, match="cannot be printed"):
        write(tmp_path, [IMAGE], settings={"beam_size": Unprintable()})
    assert os.listdir(tmp_path) == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == former


def test_report_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none/report\.html cannot be written: No such file"):
        write(tmp_path / "none", [IMAGE])
