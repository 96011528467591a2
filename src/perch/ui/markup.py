"""Elements of HTML and SVG as function calls that escape whatever they are given."""

from html import escape

_VOID = {"meta", "br"}


class Markup(str):
    """Text that is markup already. Only `el` and `raw` make it, so nothing reaches a page unescaped by accident."""

    __slots__ = ()


def raw(text: str) -> Markup:
    """Text of our own, such as a style sheet, that must not be escaped."""
    return Markup(text)


def el(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element: children that are not markup are escaped, as are attributes.

    An underscore at the end of an attribute's name is dropped (`class_`), others become hyphens. `None` leaves it out.
    """
    inside = "".join(child if isinstance(child, Markup) else escape(child) for child in children)
    told = "".join(f' {_attribute(key)}="{escape(_number(v))}"' for key, v in attributes.items() if v is not None)
    return Markup(f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{inside}</{name}>")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _number(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
