"""Foreign text as HTML: an agent's Markdown, a command's coloured output, a patch. Pure, and two walls deep: the converter
makes no HTML of what it is given, and nh3 lets nothing through but these tags."""

import re
from html import escape

import nh3
from ansi2html import Ansi2HTMLConverter
from markdown_it import MarkdownIt
from markupsafe import Markup

from codexrun_api.console.formats import visible

LONGEST_MARKDOWN = 256 * 1024
LONGEST_OUTPUT = 20_000  # characters of a command's output that are shown
LONGEST_PATCH = 400 * 1024

# No images: one from elsewhere would tell its owner who reads this, and when.
_MARKDOWN_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
_SCHEMES = {"http", "https", "mailto"}
_ANSI_TAGS, _ANSI_ATTRIBUTES = {"span", "a"}, {"span": {"class"}, "a": {"href"}}
_HEADING = re.compile(r"(</?h)([1-6])\b")

_markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").enable("strikethrough").disable("image")
_ansi = Ansi2HTMLConverter(inline=False, scheme="xterm", markup_lines=False)


def markdown(text: str) -> Markup:
    """Headings begin at the third level: the page has the first two."""
    if len(text) > LONGEST_MARKDOWN:
        text = text[:LONGEST_MARKDOWN] + "\n\n…"
    html = _markdown.render(_seen(text))
    html = _HEADING.sub(lambda m: f"{m[1]}{min(6, int(m[2]) + 2)}", html)
    clean = nh3.clean(
        html,
        tags=_MARKDOWN_TAGS,
        attributes={"a": {"href", "title"}},
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(visible(clean))  # noqa: S704 - what nh3 has cleaned; an entity was no hidden character before it was read


def ansi(text: str) -> Markup:
    """Colours become classes; every other control sequence goes, links lead to web pages or nowhere."""
    if "\x1b" not in text:
        return Markup(escape(_seen(text)))  # noqa: S704 - escaped
    html = _ansi.convert(_seen(text, keep="\x1b\x07"), full=False)
    clean = nh3.clean(
        html,
        tags=_ANSI_TAGS,
        attributes=_ANSI_ATTRIBUTES,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(visible(clean))  # noqa: S704 - what nh3 has cleaned


def output(text: str) -> tuple[Markup, int]:
    """A command's output, and how many characters in its middle are left out."""
    if len(text) <= LONGEST_OUTPUT:
        return ansi(text), 0
    head, tail = text[: LONGEST_OUTPUT // 4], text[-LONGEST_OUTPUT * 3 // 4 :]
    left_out = len(text) - len(head) - len(tail)
    return ansi(head) + Markup("\n<span class=cut>… {:,} characters left out …</span>\n").format(left_out) + ansi(
        tail
    ), left_out


def patch(text: str) -> Markup:
    """A unified diff with its lines marked."""
    lines = [Markup('<span class="{}">{}</span>').format(_kind(line), _seen(line)) for line in text.splitlines()]
    return Markup("\n").join(lines)


def _kind(line: str) -> str:
    if line.startswith(("diff ", "+++", "---", "index ", "new file", "deleted file", "rename ", "similarity ")):
        return "dh"
    if line.startswith("@@"):
        return "dk"
    return {"+": "da", "-": "dd"}.get(line[:1], "dc")


def _seen(text: str, keep: str = "") -> str:
    """`visible`, with carriage returns and lone surrogates as they would end up on a terminal."""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    if not keep:
        return visible(text)
    return "".join(part if part in keep else visible(part) for part in re.split(f"([{keep}])", text))
