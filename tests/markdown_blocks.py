"""Reads the documentation as its reader does: pages, headings, links, and the commands in fenced blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(page):
    return str(page.relative_to(ROOT))


def blocks(text, *languages):
    """The fenced blocks in one of the languages, as pairs of language and content, in order."""
    return [(language, body) for language, body in _FENCE.findall(text) if language in languages]


def prose(text):
    """The text without its fenced blocks."""
    return _FENCE.sub("", text)


def section(text, heading):
    """What stands below a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    rest = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", rest, maxsplit=1)[0]


def anchors(text):
    """The anchors that a code host makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
