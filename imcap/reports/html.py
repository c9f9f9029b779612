"""What imcap's HTML files share: templates, inline style sheets and scripts, atomic writing."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib

import jinja2
from markupsafe import Markup

from imcap import filesystem

_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_BUFFERED_PARTS = 64  # Parts of a template that are written at a time.
# It keeps compiled templates: the web page renders some at every input.
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def load_template(name: str) -> jinja2.Template:
    """Returns a template, with escaping on and undefined names an error."""
    return _ENVIRONMENT.get_template(name)


def load_inline(name: str) -> Markup:
    """Returns one of the project's style sheets or scripts; only these are not escaped."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8").strip())


def script_digest(script: str) -> str:
    """Returns the Content-Security-Policy source that allows exactly this inline script."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def write_html(stream: jinja2.environment.TemplateStream, path: str | os.PathLike[str]) -> None:
    """Writes a rendered template; the file is replaced as a whole.

    Raises:
      UserError: the file cannot be written.
    """
    stream.enable_buffering(_BUFFERED_PARTS)
    path = os.fspath(path)
    with filesystem.writing_to(path), filesystem.replacing(path) as temporary:
        stream.dump(temporary, encoding="utf-8", errors="replace")
