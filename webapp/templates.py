"""HTML from the Jinja2 templates in `webapp/templates/`, with autoescape on."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gallery_db.text import clean
from webapp.i18n import say

ENVIRONMENT = Environment(
    loader=PackageLoader("webapp"),
    autoescape=True,
    undefined=StrictUndefined,  # a missing value of a template is an error, not an empty string
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals["say"] = say  # not a filter: Jinja2 computes filters of literals once, in one language
ENVIRONMENT.filters["clean"] = clean


def render(name: str, /, **values: object) -> str:
    """Render the template file; every value is escaped unless it is `Markup`."""
    return ENVIRONMENT.get_template(name).render(**values)


def fill(name: str, macro: str, /, **values: object) -> Markup:
    """Render one macro of the template file; the result can be a value of another template."""
    html: Markup = getattr(ENVIRONMENT.get_template(name).module, macro)(**values)
    return html
