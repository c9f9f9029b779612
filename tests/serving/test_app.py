"""The web page's logic, without a browser."""

from __future__ import annotations

import sys
from collections.abc import Callable

import grey_model
import pytest
import web_servers
from streamlit.testing.v1 import AppTest

from imcap.errors import UserError
from imcap.serving import app

Open = Callable[..., AppTest]


@pytest.fixture
def open_page(version_dir, monkeypatch) -> Open:
    """Opens the page with two models and further arguments."""

    def start(*arguments: str) -> AppTest:
        models = (f"--model=first={version_dir}", f"--model=second={version_dir}")
        monkeypatch.setattr(sys, "argv", ["app.py", *models, *arguments])
        return AppTest.from_file(app.__file__, default_timeout=60).run()

    return start


def shown(page: AppTest) -> str:
    """Returns the HTML of the results."""
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html"))


def errors(page: AppTest) -> list[str]:
    assert not page.exception
    return [element.value.replace("\\", "") for element in page.error]


def test_a_sample_is_captioned_by_every_model(open_page):
    page = open_page()
    assert errors(page) == [] and "<table>" not in shown(page)
    page.radio[0].set_value("Sample").run()
    assert shown(page).count('class="imcap-best">grey ') == 2
    assert "1 image captioned by first, second" in shown(page)
    assert shown(page).count('class="imcap-bar"') == 4
    page.slider[1].set_value(1).run()
    assert shown(page).count('class="imcap-bar"') == 2


def test_the_user_s_own_samples_are_offered(open_page, images):
    page = open_page(f"--samples={images}")
    page.radio[0].set_value("Sample").run()
    assert page.selectbox[0].options == ["a.png", "b.PNG"]
    page.selectbox[0].select("b.PNG").run()
    assert "grey 20" in shown(page)


def test_models_of_a_fixed_beam_size_are_named(open_page):
    page = open_page()
    assert page.slider[0].value == 2
    assert any("first, second" in text.value for text in page.markdown)


def test_an_address_is_fetched_once_and_a_private_one_only_with_the_flag(open_page):
    with web_servers.serve() as web:
        web.answers["/a.png"] = web_servers.answer(grey_model.png(30))
        web.answers["/page"] = web_servers.answer(b"<html>", "text/html")

        def ask(page: AppTest, path: str) -> AppTest:
            page.text_input[0].set_value(web.url + path)
            return page.button[0].click().run()

        page = open_page()
        page.radio[0].set_value("Address").run()
        (line,) = errors(ask(page, "/a.png"))
        assert line.startswith("127.0.0.1: an address of this machine or of a private network")
        assert web.requests == []

        page = open_page("--allow_private_addresses")
        page.radio[0].set_value("Address").run()
        assert shown(ask(page, "/a.png")).count('class="imcap-best">grey 30') == 2
        page.slider[1].set_value(1).run()
        assert "grey 30" in shown(page) and len(web.requests) == 1
        (line,) = errors(ask(page, "/page"))
        assert line.startswith("127.0.0.1: this is a web page, not an image")
        assert "grey 30" not in shown(page)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no model: give --model=DIR"),
        (["--model=a=x", "--modle=b"], "--modle=b: no such argument"),
        (["--model=a=x", "--max_image_mib=many"], "argument --max_image_mib: invalid int value"),
        (["--model=a=x", "--model=a=y"], "a is x already"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        app.parse_arguments(arguments)


def test_a_model_that_cannot_be_loaded_is_an_error_on_the_page(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["app.py", f"--model=a={tmp_path}"])
    page = AppTest.from_file(app.__file__, default_timeout=60).run()
    assert "no exported model in it" in errors(page)[0]
