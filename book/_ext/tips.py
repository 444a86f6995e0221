"""Sphinx extension: words, letters and references say what they are, where a pointer or the focus rests on them.

- the first use of a term of the glossary on a page becomes a link to it;
- a formula that holds letters of the page of symbols is marked; the first of a letter that stands alone, and displayed
  equations, are stops of the tabulator;
- what terms, letters, equations, figures, chapters and citations say is written to ``_static/tips_data.js`` when all
  pages are written; ``_static/tips.js`` shows it, from the book's own files.
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

GLOSSARY = "book/symbols"
# Words that most often mean no more than they say.
EVERYDAY = {"calibration", "cell", "challenge", "confidence", "contest", "ensemble", "features", "grid",
            "interval", "left-out", "probe", "published score", "ridge", "seed", "source", "tie", "truth", "twin",
            "width", "zoo"}  # fmt: skip
APART = (nodes.title, nodes.reference, nodes.literal, nodes.table, nodes.figure, addnodes.pending_xref)
# Of a page: equations, figures, citations, and the card that opens it (question, first sentences).
EQUATION = re.compile(r'<div class="math[^"]*" id="(equation-.*?)">.*?</a></span>(.*?)</div>', flags=re.S)
FIGURE = re.compile(
    r'<figure[^>]* id="(.*?)">.*?(<img .*?>).*?<span class="caption-text">(.*?)</span><a', flags=re.S
)
CITATION = re.compile(r'<div class="citation" id="(.*?)".*?<p>(.*?)</p>', flags=re.S)
CARD = re.compile(r'"in-short admonition">\s*<p class="admonition-title">(.*?)</p>.*?<p>(.*?)</p>', flags=re.S)
MATH = r'<span class="math notranslate nohighlight">(\\\(.*?\\\))</span>'
# The same or a displayed equation: its element's tag and attributes, then its TeX.
FORMULA = re.compile(r'<((span|div) class="math notranslate nohighlight"[^>]*)>(.*?)(?=</\2>)', flags=re.S)
MARK = re.compile(' data-tip="[^"]*"(?: tabindex="0")?')
# In it, but no letters: its number, and words.
WORDS = r"<.*?>|\\(?:text|mathrm|operatorname|begin|end|label)\*?\{.*?\}"


def terms(text):
    """The words of a glossary in MyST, the longest first."""
    glossary = re.search(r"```\{glossary\}\n(.*?)```", text, flags=re.S)[1]
    return sorted(re.findall(r"^(\S.*)$", glossary, flags=re.M), key=len, reverse=True)


class LinkTerms(SphinxTransform):
    """The first use of each term in the text of a chapter, where it is not folded away, is a link."""

    default_priority = 700

    def apply(self):
        if not re.match(r"book/(\d|index|claims|left_out)", self.env.docname):
            return
        known = terms(Path(self.env.srcdir, f"{GLOSSARY}.md").read_text(encoding="utf-8"))
        wanted = {re.sub(r"\s+", " ", term).lower(): term for term in known if term.lower() not in EVERYDAY}
        words = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in wanted)
        pattern = re.compile(rf"(?<![\w-])({words})(?![\w-])", flags=re.I)
        for paragraph in self.document.findall(nodes.paragraph):
            if not _within(paragraph, APART):
                for text in list(paragraph.findall(nodes.Text)):
                    if not _within(text.parent, APART):
                        text.parent.replace(text, self._linked(text.astext(), pattern, wanted))

    def _linked(self, text, pattern, wanted):
        found, end = [], 0
        for match in pattern.finditer(text):
            term = wanted.pop(re.sub(r"\s+", " ", match[0]).lower(), None)
            if term:
                link = addnodes.pending_xref(
                    "", nodes.inline("", match[0], classes=["xref", "std", "std-term"]), refdoc=self.env.docname,
                    refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True)  # fmt: skip
                found += [nodes.Text(text[end : match.start()]), link]
                end = match.end()
        return [*found, nodes.Text(text[end:])]


def _within(node, kinds):
    while node is not None and not isinstance(node, kinds):
        if isinstance(node, nodes.Element) and "dropdown" in node["classes"]:
            return True
        node = node.parent
    return node is not None


def symbols(page):
    """The letters of the page of symbols: its rows, the chapters that introduce it, whether others use it."""
    found = {}
    for table in page.split("<table")[1:]:
        for row in re.findall(r"<tr.*?</tr>", table, flags=re.S):
            cells = re.findall("<td><p>(.*?)</p></td>", row, flags=re.S)
            chapters = re.findall(r'href="(\d[^"#]*)', row) or ["04_rivals.html"]
            for symbol in re.findall(MATH, cells[0]) if cells else []:
                found.setdefault(symbol, []).append((f"<p>{cells[0]}: {cells[1]}</p>", chapters, "Rival" not in table))
    return found


def meaning(symbol, name, found):
    """What a letter means on a page: where it is introduced, that; elsewhere only if it can be nothing else.

    Of single Roman letters only the sizes and the identity matrix are the same all over the book.
    """
    rows = found.get(symbol, [])
    here = [text for text, chapters, _ in rows if name in chapters]
    if not here and len(rows) == 1 and rows[0][2] and not re.fullmatch(r"\\\((?![CDIN])[A-Za-z]\\\)", symbol):
        here = [rows[0][0]]
    return here[0] if len(here) == 1 else None


def said_on(name, page):
    """What terms, equations, figures, citations and the chapter itself say, by their address."""
    for names, text in re.findall(r'((?:<dt id="term-.*?</dt>)+)<dd>(.*?)</dd>', page, flags=re.S):
        yield from ((f"{name}#{each}", text) for each in re.findall('<dt id="(.*?)"', names))
    for each, text in EQUATION.findall(page):
        yield f"{name}#{each}", f'<div class="math">{text}</div>'
    for each, image, text in FIGURE.findall(page):
        yield f"{name}#{each}", f"<figure>{image}</figure><p>{text}</p>"
    for each, text in CITATION.findall(page):
        yield f"{name}#{each}", f"<p>{text}</p>"
    if label := re.search(r'id="((?:ch|page)-[\w-]+)"', page):
        title = re.search("<h1>(.*?)<", page)[1]
        said = CARD.search(page)
        texts = [f"<strong>{title}</strong>", *filter(None, said.groups() if said else ())]
        yield f"{name}#{label[1]}", "".join(f"<p>{text}</p>" for text in texts)


def marked(name, page, letters, tips):
    """A chapter with its formulas marked by the letters in them; the letters' tips are added to `tips`."""
    known = {}
    for symbol, rows in letters.items():
        if text := meaning(symbol, name, letters):
            key = html.unescape(f"symbol {symbol} {name if len(rows) > 1 else ''}".strip())
            known[symbol[2:-2]], tips[key] = key, text
    # The longest first: S_W is more than S. A letter within a name, with an index or as one is another. Words are
    # passed over where they are no part of a letter.
    each = "|".join(map(re.escape, sorted(known, key=len, reverse=True))) or "(?!)"
    pattern, seen = re.compile(rf"(?<![A-Za-z\\_])(?<!_\{{)({each})(?![A-Za-z_])|{WORDS}", flags=re.S), set()

    def mark(match):
        element, kind, tex = match.groups()
        element = MARK.sub("", element)  # of a page that was not written again
        alone = known.get(tex[2:-2])
        found = [alone] if alone else dict.fromkeys(known[letter] for letter in pattern.findall(tex) if letter)
        if not found:
            return f"<{element}>{tex}"
        stop = ' tabindex="0"' if kind == "div" or (alone and alone not in seen) else ""
        seen.add(alone)
        keys = html.escape("\n".join(found)).replace("\n", "&#10;")
        return f'<{element} data-tip="{keys}"{stop}>{tex}'

    head, main, rest = page.partition("<main")
    return head + main + FORMULA.sub(mark, rest)


def write_tips(app, exception):
    if exception or app.builder.format != "html":
        return
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(Path(app.outdir, "book").glob("*.html"))}
    tips, letters = {}, symbols(pages[Path(app.outdir, f"{GLOSSARY}.html")])
    for path, page in pages.items():
        tips |= {f"book/{key}": text for key, text in said_on(path.name, page)}
        if path.name[0].isdigit():
            path.write_text(marked(path.name, page, letters, tips), encoding="utf-8")
    # A tip leads nowhere, and has no places of its own.
    tips = {key: re.sub(r"</?a\b[^>]*>| id=\"[^\"]*\"", "", text) for key, text in tips.items()}
    data = json.dumps(tips, ensure_ascii=False, indent=0, sort_keys=True)
    Path(app.outdir, "_static", "tips_data.js").write_text(f"window.TIPS = {data};\n", encoding="utf-8")


def setup(app):
    app.add_transform(LinkTerms)
    for script in ("tips_data.js", "tips.js"):
        app.add_js_file(script, loading_method="defer")
    app.connect("build-finished", write_tips)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
