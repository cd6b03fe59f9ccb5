"""Foreign text as HTML: an agent's Markdown, a command's coloured output, a patch. Pure, and two
walls deep: the converter makes no HTML of what it is given, and nh3 lets nothing through but these
tags.

What Markdown would become is counted before it is made: a table's rows are filled up to its
header's columns, and every `[a]` repeats the whole URL of its definition, so that a few kilobytes
become many megabytes. What is above a bound is shown as the text that it is.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import nh3
from ansi2html import Ansi2HTMLConverter
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from codexrun_api.console.view.formats import visible

MAX_MARKDOWN_CHARACTERS = 32 * 1024  # of one text; about 20 microseconds each in the worst case
MAX_NESTING = 20  # of blocks; a level of a list has two
MAX_QUOTED_LINES = 20_000  # of one text, each as often as it is quoted: every level reads it again
MAX_MESSAGE_BYTES = 128 * 1024  # of a final message that a page holds; the artifact has the rest
MAX_OUTPUT_CHARACTERS = 20_000  # characters of a command's output that are shown
MAX_PATCH_BYTES = 400 * 1024
MAX_PATCH_LINES = 10_000
MAX_DIFF_LINES = 2_000  # of each side; the time to compare them grows faster than their number

# Of one page: all its Markdown, the cells of all its tables, and the HTML of all its foreign text.
MAX_PAGE_MARKDOWN = 96 * 1024
MAX_PAGE_CELLS = 10_000
MAX_PAGE_HTML = 2 * 1024 * 1024

# No images: one from elsewhere would tell its owner who reads this, and when.
_MARKDOWN_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
_SCHEMES = {"http", "https", "mailto"}
_ANSI_TAGS = {"span", "a"}
_ANSI_ATTRIBUTES = {"span": {"class"}, "a": {"href"}}
_HEADING = re.compile(r"(</?h)([1-6])\b")

_markdown = (
    MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": MAX_NESTING + 1})
    .enable("table")
    .enable("strikethrough")
    .disable("image")
)
_ansi = Ansi2HTMLConverter(inline=False, scheme="xterm", markup_lines=False)


@dataclass
class Budget:
    """How much foreign text one page may still turn into HTML. Made once a page, and asked in the
    page's order."""

    markdown_characters: int = MAX_PAGE_MARKDOWN
    cells: int = MAX_PAGE_CELLS
    html_characters: int = MAX_PAGE_HTML

    def markdown(self, text: str) -> Markup:
        """Convert Markdown to HTML, or show it as text with the bound that it is above. Headings
        begin at the third level: the page has the first two."""
        if len(text) > MAX_MARKDOWN_CHARACTERS:
            return self._as_text(
                text,
                f"the text has {len(text):,} characters; the limit is {MAX_MARKDOWN_CHARACTERS:,}",
            )
        if len(text) > self.markdown_characters:
            return self._as_text(
                text,
                f"the texts of this page have more than {MAX_PAGE_MARKDOWN:,} characters in total",
            )
        visible_text = _visible_text(text)
        if quoted_lines(visible_text) > MAX_QUOTED_LINES:
            return self._as_text(
                text,
                (
                    f"the block quotes in the text have more than {MAX_QUOTED_LINES:,} lines (a"
                    " line counts once for each level of quoting)"
                ),
            )
        cells = table_cells(visible_text)
        if cells > self.cells:
            return self._as_text(
                text,
                f"the tables of this page may have more than {MAX_PAGE_CELLS:,} cells in total",
            )
        self.markdown_characters -= len(text)
        self.cells -= cells
        env: dict[str, object] = {}
        tokens = _markdown.parse(visible_text, env)
        if any(token.level >= MAX_NESTING for token in tokens):
            # The parser leaves out what is deeper, and all that follows it.
            return self._as_text(
                text,
                "the lists and block quotes in the text are nested too deeply",
            )
        size = _html_characters(tokens)
        if size > self.html_characters:
            return self._as_text(
                text,
                f"the formatted texts of this page would have more than {MAX_PAGE_HTML:,}"
                " characters of HTML in total",
            )
        return self._spend(_clean(str(_markdown.renderer.render(tokens, _markdown.options, env))))

    def output(self, text: str) -> tuple[Markup, int]:
        """Return a command's output, and how many characters of it are left out, most of them
        from its middle."""
        if self.html_characters <= 0:
            return _left_out(len(text)), len(text)
        shown, left_out = output(text)
        return self._spend(shown), left_out

    def patch(self, text: str) -> Markup:
        """Mark the lines of a unified diff."""
        return self._spend(patch(text)) if self.html_characters > 0 else _left_out(len(text))

    def _as_text(self, text: str, reason: str) -> Markup:
        beginning = text[: max(0, self.html_characters)]
        html = Markup("<p><em>Shown as plain text: {}.</em></p><pre>{}</pre>").format(
            reason, _visible_text(beginning)
        )
        if len(beginning) < len(text):
            html += Markup("<p><em>{:,} characters left out.</em></p>").format(
                len(text) - len(beginning)
            )
        return self._spend(html)

    def _spend(self, html: Markup) -> Markup:
        self.html_characters -= len(html)
        return html


# a table's second line, also within a list or a quotation
_DELIMITERS = re.compile(r"[-|:+*>0-9.)\s]+")
_BLANK = re.compile(r"[> \t]*")  # as Markdown has it: other blanks do not end a table


def table_cells(text: str) -> int:
    """Return an upper bound of the cells that Markdown's tables have in this text: from what may be
    a table's second line to the next blank one, as many in each line as that one has columns."""
    cells = columns = 0
    for line in text.split("\n"):
        if _BLANK.fullmatch(line):
            columns = 0
        elif "-" in line and _DELIMITERS.fullmatch(line):
            columns = max(columns, line.count("|") + 1)
            cells += columns  # the header's
        cells += columns
    return cells


_QUOTED = re.compile(r"[-+*0-9.) \t]*>[-+*>0-9.) \t]*")  # also within a list


def quoted_lines(text: str) -> int:
    """Return an upper bound of the lines in this text's quotations, each as often as it is quoted;
    a line without `>` goes on with the paragraph before it, in as many quotations."""
    lines = levels = 0
    for line in text.split("\n"):
        if not line.strip(" \t"):
            levels = 0
        elif quoted := _QUOTED.match(line):
            levels = max(levels, quoted[0].count(">"))
        lines += levels
    return lines


def _html_characters(tokens: Sequence[Token]) -> int:
    """Return how long these tokens' HTML is at least, each link with its whole URL and title."""
    characters = sum(
        len(token.content) + sum(len(str(value)) for value in token.attrs.values())
        for token in tokens
    )
    return characters + sum(_html_characters(token.children) for token in tokens if token.children)


def _clean(html: str) -> Markup:
    html = _HEADING.sub(lambda m: f"{m[1]}{min(6, int(m[2]) + 2)}", html)
    clean = nh3.clean(
        html,
        tags=_MARKDOWN_TAGS,
        attributes={"a": {"href", "title"}},
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    # what nh3 has cleaned; an entity was no hidden character before it was read
    return Markup(visible(clean))  # noqa: S704


def _left_out(characters: int) -> Markup:
    return Markup("<span class=cut>… {:,} characters left out …</span>").format(characters)


def ansi(text: str) -> Markup:
    """Make colours classes; every other control sequence goes, links lead to web pages or
    nowhere."""
    if "\x1b" not in text:
        return Markup(escape(_visible_text(text)))  # noqa: S704 - escaped
    html = _ansi.convert(_visible_text(text, keep="\x1b\x07"), full=False)
    clean = nh3.clean(
        html,
        tags=_ANSI_TAGS,
        attributes=_ANSI_ATTRIBUTES,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(visible(clean))  # noqa: S704 - what nh3 has cleaned


def output(text: str) -> tuple[Markup, int]:
    """Return a command's output, and how many characters in its middle are left out."""
    if len(text) <= MAX_OUTPUT_CHARACTERS:
        return ansi(text), 0
    head = text[: MAX_OUTPUT_CHARACTERS // 4]
    tail = text[-MAX_OUTPUT_CHARACTERS * 3 // 4 :]
    left_out = len(text) - len(head) - len(tail)
    return Markup("\n").join((ansi(head), _left_out(left_out), ansi(tail))), left_out


def patch(text: str) -> Markup:
    """Mark the lines of a unified diff, cut at MAX_PATCH_LINES."""
    lines = text.splitlines()
    lines_of_html = [
        f'<span class="{_kind(line)}">{escape(_visible_text(line))}</span>'
        for line in lines[:MAX_PATCH_LINES]
    ]
    if len(lines) > MAX_PATCH_LINES:
        lines_of_html.append(
            f'<span class="cut">… {len(lines) - MAX_PATCH_LINES:,} lines left out …</span>'
        )
    return Markup("\n".join(lines_of_html))  # noqa: S704 - every line is escaped


def diff(old: str, new: str, old_name: str, new_name: str) -> Markup:
    """Return what changes from one text to the other, as a marked diff; empty where they are the
    same."""
    before = old.splitlines()
    after = new.splitlines()
    changes = difflib.unified_diff(
        before[:MAX_DIFF_LINES], after[:MAX_DIFF_LINES], old_name, new_name, lineterm=""
    )
    left_out = [
        f"… {name}: {len(lines) - MAX_DIFF_LINES:,} more lines not compared"
        for name, lines in ((old_name, before), (new_name, after))
        if len(lines) > MAX_DIFF_LINES
    ]
    return patch("\n".join((*changes, *left_out)))


def _kind(line: str) -> str:
    if line.startswith(
        ("diff ", "+++", "---", "index ", "new file", "deleted file", "rename ", "similarity ")
    ):
        return "dh"
    if line.startswith("@@"):
        return "dk"
    return {"+": "da", "-": "dd"}.get(line[:1], "dc")


def _visible_text(text: str, keep: str = "") -> str:
    """Return `visible` text, with carriage returns and lone surrogates as they would end up on a
    terminal."""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    if not keep:
        return visible(text)
    return "".join(
        part if part in keep else visible(part) for part in re.split(f"([{keep}])", text)
    )
