"""Templates escape every value, and a missing value is an error."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from webapp.i18n import speak
from webapp.templates import ENVIRONMENT, fill, render


def test_values_are_escaped_and_markup_is_not() -> None:
    template = ENVIRONMENT.from_string('<p title="{{ value }}">{{ value }}</p>{{ markup }}')
    html = template.render(value="<b>'\"&", markup=Markup("<i>"))
    assert html == '<p title="&lt;b&gt;&#39;&#34;&amp;">&lt;b&gt;&#39;&#34;&amp;</p><i>'


def test_a_login_page_escapes_its_target() -> None:
    assert 'value="/&#34;&gt;&lt;b&gt;"' in render("login.html", token="t", target='/"><b>', error=None)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("login.html", token="t", target="/")


def test_a_filled_macro_is_escaped_once_within_another() -> None:
    inner = fill("macros.html", "code", text="<b>")
    assert inner == "<code>&lt;b&gt;</code>" and fill("macros.html", "code", text=inner) == f"<code>{inner}</code>"


def test_a_macro_is_in_the_language_of_each_call() -> None:
    assert "Upload a talking-head clip" in fill("analysis.html", "welcome")
    with speak("de"):
        assert "Upload a talking-head clip" not in fill("analysis.html", "welcome")
