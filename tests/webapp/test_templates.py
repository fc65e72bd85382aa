"""Templates escape every value, and a missing value is an error."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from webapp.templates import ENVIRONMENT, render


def test_values_are_escaped_and_markup_is_not() -> None:
    template = ENVIRONMENT.from_string('<p title="{{ value }}">{{ value }}</p>{{ markup }}')
    html = template.render(value="<b>'\"&", markup=Markup("<i>"))
    assert html == '<p title="&lt;b&gt;&#39;&#34;&amp;">&lt;b&gt;&#39;&#34;&amp;</p><i>'


def test_a_login_page_escapes_its_target() -> None:
    assert 'value="/&#34;&gt;&lt;b&gt;"' in render("login.html", token="t", target='/"><b>', error=None)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("login.html", token="t", target="/")
