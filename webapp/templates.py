"""HTML from the Jinja2 templates in `webapp/templates/`, with autoescape on."""

from jinja2 import Environment, PackageLoader, StrictUndefined

ENVIRONMENT = Environment(
    loader=PackageLoader("webapp"),
    autoescape=True,
    undefined=StrictUndefined,  # a value that a template needs and does not get is an error, not an empty string
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(name: str, **values: object) -> str:
    """Render the template file; every value is escaped unless it is `Markup`."""
    return ENVIRONMENT.get_template(name).render(**values)
