"""The built pages, as a reader's browser shows them: offline, light and dark, on a telephone, from a keyboard."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Error, sync_playwright

from explorable.show import VEGA_LITE
from sfda import plots
from sfda.evidence import verdict
from sfda.metric import ranking
from tree import ADDRESS, BUILT, CHAPTERS, COLAB, ENTRIES, NUMBERED, ROOT, tracked_files


def page_of(entry):
    return f"{entry.removesuffix('.ipynb')}.html"


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EXPLORABLES = [page_of(entry) for entry in CHAPTERS if "<div data-explorable" in (ROOT / entry).read_text(encoding="utf-8")]
# Not the one at the top, which only leads on.
PAGES = [*map(page_of, ENTRIES), "search.html"]

# What is wrong with a page, in words. Equations are the elements of class math.
INSPECT = r"""
async (scheme) => {
  const problems = [];
  const article = document.querySelector("main") ?? document.body;
  const shown = (element) => element.outerHTML.slice(0, 160);

  const equations = [...document.querySelectorAll(".math")];
  if (equations.length && !window.MathJax?.startup?.promise) problems.push("MathJax did not load");
  await window.MathJax?.startup?.promise;
  for (const equation of equations) {
    if (!equation.querySelector("mjx-container")) problems.push("equation not typeset: " + shown(equation));
  }
  for (const wrong of document.querySelectorAll("[data-mml-node=merror]")) {
    problems.push("TeX error, " + wrong.getAttribute("data-mjx-error"));
  }
  const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const raw = texts.currentNode.data.match(/\\\(|\\\[|\$\$/);
    if (raw && !texts.currentNode.parentElement.closest("pre, code, script, style, mjx-container")) {
      problems.push("raw TeX in the text: " + texts.currentNode.data.trim().slice(0, 80));
    }
  }

  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => {});
    if (!image.naturalWidth) problems.push("image not loaded: " + image.src.slice(0, 120));
    if (article.contains(image) && !image.alt.trim()) problems.push("image without alt text: " + image.src.slice(0, 120));
  }

  // Text and equations stand out from the page, as WCAG asks: 4.5 to 1.
  const luminance = (colour) => colour.match(/[\d.]+/g).slice(0, 3)
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  if (document.documentElement.dataset.theme !== scheme) problems.push("the page is not " + scheme);
  const paper = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    const seen = colour.startsWith("rgb(") || element === document.documentElement;
    return seen ? luminance(colour) : paper(element.parentElement);
  };
  for (const element of article.querySelectorAll("h1, p, figcaption .caption-text, mjx-container")) {
    const [low, high] = [luminance(getComputedStyle(element).color), paper(element)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) problems.push(`contrast only ${contrast.toFixed(1)}: ` + shown(element));
  }
  return problems;
}
"""

# What makes a page wider than the screen; boxes that scroll by themselves may be wide.
OVERFLOW = r"""
() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const boxed = (element) => {
    for (let box = element; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (style.position === "fixed" || (box !== element && style.overflowX !== "visible")) return true;
    }
    return false;
  };
  const right = (element) => element.getBoundingClientRect().right;
  const widest = [...document.body.querySelectorAll("*")].filter((element) => !boxed(element))
    .reduce((a, b) => (right(b) > right(a) ? b : a));
  return [`${document.documentElement.scrollWidth} pixels wide on a screen of ${width}, because of `
          + widest.outerHTML.slice(0, 160)];
}
"""

# Whether every block of code that scrolls can be reached with the tabulator.
STOPS = """
[...document.querySelectorAll("main pre")].every((box) => box.tabIndex === 0 || box.scrollWidth <= box.clientWidth)
"""

# Boxes that scroll sideways and do not say so.
UNTOLD = r"""
() => [...document.querySelectorAll('main figure, main .output.text_html, main .pst-scrollable-table-container, main mjx-container[display="true"]')]
  .filter((box) => box.scrollWidth > box.clientWidth + 8 && getComputedStyle(box).overflowX !== "visible")
  .filter((box) => ![box, box.querySelector(":scope > figcaption"), box.parentElement]
    .some((teller) => teller && getComputedStyle(teller, "::after").content.includes("scrolls sideways")))
  .map((box) => "scrolls sideways and does not say so: " + box.textContent.trim().slice(0, 60))
"""

# Pictures and tables are seen whole on a telephone, those that are folded, too.
WIDE_BOXES = r"""
async () => {
  const folded = [...document.querySelectorAll("main details:not([open])")];
  folded.forEach((box) => box.open = true);
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);  // the tables make themselves fit
  const wide = [...document.querySelectorAll(
    "main figure, main figure img, main .output.text_html, main .pst-scrollable-table-container")]
    .filter((box) => box.scrollWidth > box.clientWidth + 8 || box.getBoundingClientRect().right > innerWidth)
    .map((box) => "wider than a telephone: " + (box.innerText.trim() || box.outerHTML).slice(0, 100));
  folded.forEach((box) => box.open = false);
  return wide;
}
"""

# On a screen that is not narrow an equation must be seen whole, without scrolling.
CUT_EQUATIONS = r"""
() => [...document.querySelectorAll('mjx-container[display="true"]')]
  .filter((box) => box.scrollWidth > box.clientWidth + 1)
  .map((box) => `equation ${box.scrollWidth} pixels wide in ${box.clientWidth}; break it: ` + box.textContent.slice(0, 60))
"""


# What a sheet of paper cuts off: code, tables, figures and equations that are wider than their place.
ON_PAPER = r"""
() => [...document.querySelectorAll('main article :is(pre, table, figure, img, mjx-container[display="true"])')]
  .filter((box) => box.checkVisibility() && getComputedStyle(box).overflowX !== "visible" && box.scrollWidth > box.clientWidth + 1
                   || box.getBoundingClientRect().right > innerWidth + 1)
  .map((box) => `${box.tagName} cut off at ${innerWidth}: ${Math.round(box.getBoundingClientRect().right)}, ${box.scrollWidth}: `
                + box.textContent.trim().slice(0, 60))
"""


# Marks two elements of each kind of text that no page has shown yet, and names these kinds: what else has its colours,
# on the same ground, as large, has the same contrast, and axe-core takes a second for every few hundred of them. Large
# is what WCAG calls so; links are told from the text around them.
SAMPLES = r"""
(known) => {
  const before = new Set(known), grounds = new Map([[null, ""]]), kinds = new Map();
  const ground = (box) => {
    if (!grounds.has(box)) {
      const { opacity, backgroundImage, backgroundColor } = getComputedStyle(box);
      const own = [opacity, backgroundImage, backgroundColor].join("|");
      // What is opaque hides the grounds below it.
      grounds.set(box, own + (backgroundColor.startsWith("rgb(") ? "" : ground(box.parentElement)));
    }
    return grounds.get(box);
  };
  const amongText = (link) => {
    let block = link.parentElement;
    while (getComputedStyle(block).display.startsWith("inline")) block = block.parentElement;
    return [...block.querySelectorAll("a")].reduce((rest, a) => rest.replace(a.textContent, ""), block.textContent).trim() !== "";
  };
  for (const element of document.querySelectorAll("[data-sample]")) delete element.dataset.sample;
  for (const element of document.body.querySelectorAll("*")) {
    if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
    const { color, fontSize, fontWeight, textShadow, textDecorationLine } = getComputedStyle(element);
    const large = parseFloat(fontSize) >= (fontWeight >= 700 ? 18.66 : 24);
    const link = element.closest("a"), own = link && getComputedStyle(link);
    const around = link ? [own.color, own.textDecorationLine, own.fontWeight, own.fontStyle, own.borderBottomStyle,
                           getComputedStyle(link.parentElement).color, amongText(link)] : "";
    const kind = [element.tagName, color, large, textShadow, textDecorationLine, around, ground(element)].join("|");
    const seen = before.has(kind) ? 2 : kinds.get(kind) ?? 0;
    if (seen < 2 && element.checkVisibility({ visibilityProperty: true })) {
      for (const each of [element, link ?? element]) each.dataset.sample = "";
      kinds.set(kind, seen + 1);
    }
  }
  return [...kinds.keys()];
}
"""

# Only what asks for colours has another answer in dark. "region" takes long, and is no serious barrier to axe-core itself.
# preload would fetch the style sheets again, which no file may.
RUN_AXE = """
async ([colours, rest]) => {
  if (!colours && !rest) return [];
  const comparing = ["color-contrast", "link-in-text-block"];
  const which = rest ? { rules: Object.fromEntries(["region", ...colours ? [] : comparing].map((rule) => [rule, { enabled: false }])) }
                     : { runOnly: comparing };
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-sample]" },
                          { id: "link-in-text-block", selector: "a[href][data-sample]" }] });
  return (await axe.run(document, { resultTypes: ["violations"], preload: false, ...which })).violations;
}
"""

# The theme's colours change little by little, and where the browser draws no frames a transition never ends.
AT_ONCE = "*, *::before, *::after { transition: none !important; animation: none !important }"

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
HEAVIEST = 1.5  # megabytes: so much may a page with its pictures weigh


def barriers(page, known, rest=True):
    """What keeps somebody from reading the page: axe-core's findings of serious or critical impact.

    Colours are compared in the kinds of text that are not in the set `known`, which then knows them; what else axe-core
    looks for, with `rest`.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    new = page.evaluate(SAMPLES, list(known))
    known.update(new)
    return [f"{rule['help']} ({rule['impact']}, axe's {rule['id']}): {node['html'][:160]} at {node['target'][0]}"
            for rule in page.evaluate(RUN_AXE, [bool(new), rest]) if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]]  # fmt: skip


class Addresses(HTMLParser):
    """What a page points to, what it shows, and the names of its own places."""

    def __init__(self, page):
        super().__init__()
        self.links, self.images, self.anchors = [], [], {"", "top"}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        if tag == "img":
            self.images.append(attributes.get("src", ""))


@pytest.fixture(scope="module", autouse=True)
def book():
    """The book, built where a source is newer, while other processes run other tests."""
    whole, parts = BUILT.parent / ".whole", ("_config.yml", "book", "data", "sfda", "_toc.yml")
    sources = [path for path in tracked_files() if path.relative_to(ROOT).parts[0] in parts]
    if not whole.exists() or whole.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        made = subprocess.run(["make", "book"], cwd=ROOT, capture_output=True, text=True)
        wrong = re.findall(".*(?:WARNING|ERROR|Error).*", made.stdout + made.stderr)
        assert made.returncode == 0, "`make book` fails: " + "\n".join(wrong[:9])
    found = {path.relative_to(BUILT).as_posix() for path in BUILT.rglob("*.html")} - {"index.html"}
    assert {page for page in found if not page.startswith("_static/")} == set(PAGES)  # the theme has some of its own


@pytest.fixture(scope="module")
def addresses():
    return {BUILT / name: Addresses(BUILT / name) for name in [*PAGES, "index.html"]}


# Closed with this module: while Playwright runs, its event loop would be in the way of nbval's.
@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        message = "no chromium, chromium-browser or google-chrome found; install one to check the pages"
        (pytest.fail if os.environ.get("SFDA_REQUIRE_BROWSER") else pytest.skip)(message)
    # The sandbox needs rights that containers lack; the pages are our own.
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=BROWSER, args=options) as browser:
        yield browser


@pytest.mark.parametrize("entry", ENTRIES)
def test_page_is_built(entry):
    page = BUILT / page_of(entry)
    source = ROOT / (entry if entry.endswith(".ipynb") else f"{entry}.md")
    assert page.exists(), f"_build/html/{page_of(entry)} is missing: run `make book`"
    assert page.stat().st_mtime >= source.stat().st_mtime, f"{source.name} is newer than its page: run `make book`"
    found = re.search(r'<ol class="upperalpha.*?</p>', page.read_text(encoding="utf-8"), flags=re.S)
    assert not found, f"{entry}: {found and found[0]}: see keep_initials in book/_ext/companion.py"
    top = (BUILT / "index.html").read_text(encoding="utf-8")
    assert page_of(ENTRIES[0]) in top, f"_build/html/index.html must lead to {ENTRIES[0]}"


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.startswith("book/api")])
def test_reference_is_that_of_the_package_itself(entry):
    # Built without torch and the like, whose mocks must not show.
    found = re.search("_?[Mm]ock|args</span>.{0,150}kwargs</span>", (BUILT / page_of(entry)).read_text(encoding="utf-8"), flags=re.S)
    assert not found, f"{entry}: {found and found[0]}: see autodoc_mock_imports in _config.yml"


def test_reference_has_every_command_and_every_metric():
    from sfda.__main__ import build_parser
    from sfda.rivals.catalogue import RIVALS

    help_page, table = ((BUILT / page_of(f"book/{name}")).read_text(encoding="utf-8") for name in ("command_line", "api"))
    (commands,) = (action.choices for action in build_parser()._actions if action.dest == "command")
    for name, parser in commands.items():
        assert f"usage: python -m sfda {name} " in help_page and all(
            action.option_strings[0] in help_page for action in parser._actions if action.option_strings)  # fmt: skip
    table = table.partition("<p>operations</p>")[2].partition("</table>")[0]
    rows = [re.findall(r"<p>(.*?)</p>", row) for row in re.findall(r"<tr.*?</tr>", table, flags=re.S)]
    costs = {unescape(row[0]): unescape(row[-1]) for row in rows if row}
    assert costs == {name: metric.cost for name, metric in RIVALS.items()}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_buttons_lead_to_the_repository(chapter):
    links = set(re.findall(r'href="([^"]+)"', (BUILT / page_of(chapter)).read_text(encoding="utf-8")))
    launch = {link for link in links if link.startswith("https://colab.")}
    hint = "; see the buttons in _config.yml and book/_ext/companion.py"
    assert f"{COLAB}/blob/main/{chapter}" in launch, f"{page_of(chapter)}: no Colab button{hint}"
    for link in launch:
        path = link.removeprefix(f"{COLAB}/blob/main/")
        assert path.endswith(".ipynb") and (ROOT / path).is_file(), f"{page_of(chapter)}: {link} leads nowhere"
    assert ADDRESS in links, f"{page_of(chapter)}: no repository button{hint}"
    assert any(link.startswith(f"{ADDRESS}/issues/new") for link in links), f"{page_of(chapter)}: no issue button{hint}"


@pytest.fixture(scope="module")
def tab(browser):
    """One tab that goes from page to page, as a reader does, what it complains of, and the kinds of text seen so far."""
    problems = []
    with browser.new_context(offline=True) as context:
        context.route(re.compile("^(?!file:|data:|blob:)"), lambda route: route.abort())
        page = context.new_page()
        page.on("console", lambda line: problems.append(f"console: {line.text}") if line.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
        page.on("request", lambda request: None if re.match("file:|data:|blob:", request.url)
                else problems.append(f"asks the network for {request.url}"))
        yield page, problems, set()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound(tab, name):
    page, problems, known = tab
    problems.clear()
    try:
        page.set_viewport_size(WIDE)
        page.goto((BUILT / name).as_uri())
        page.add_style_tag(content=AT_ONCE)
        # Each width once: a moment after it has changed, the theme makes boxes that scroll stops of the tabulator.
        for scheme, width in (("light", WIDE), ("dark", WIDE), ("dark", PHONE), ("light", PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
            page.set_viewport_size(width)
            if width == PHONE and scheme == "light":
                page.wait_for_function(STOPS)
                problems += page.evaluate(UNTOLD) + page.evaluate(WIDE_BOXES)
            found = page.evaluate(INSPECT, scheme) if width == WIDE else page.evaluate(OVERFLOW)
            problems += [f"{scheme}: {problem}" for problem in found + barriers(page, known, rest=scheme == "light")]
        page.set_viewport_size(WIDE)
        problems += page.evaluate(CUT_EQUATIONS)
    except Error as error:
        problems.append(str(error))
    if problems:
        pytest.fail("\n".join([f"_build/html/{name}: mend its source, then run `make book`", *problems]), pytrace=False)


def test_faint_text_is_found_among_its_like(browser):
    """Once where three are alike, and each kind for itself: by colour, size, ground and opacity; later only what is new."""
    page_ = """<html lang="en"><title>t</title><style>p { color: #777; margin: 0 } .dark { background: #888 }
        @media (max-width: 500px) { .narrow { color: #777 !important } } .bare { color: #222; text-decoration: none }</style>
        <main><h1>h</h1><p>{}</p><p>{}</p><p>{}</p><p style="color: #000">fine</p><p style="font-size: 30px">large</p>
        <div class="dark"><p style="color: #000">fine</p><p>faint there</p></div>
        <h2 class="narrow" style="color: #000; font-size: 12px">on a telephone</h2>
        <p style="color: #000"><a class="bare" href="#c">alone</a></p><p style="color: #000"><a class="bare" href="#d">alone, too</a></p>
        <p style="color: #000">a line of text with <a href="#a">a link</a> in it, and then <a class="bare" href="#b">a hidden one</a></p>
        <div style="opacity: 0.3"><p style="color: #000">through</p></div></main>"""
    seen, known = [], set()
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        page.set_content(page_.replace("{}", "faint here", 3))
        for width in (1280, 360, 1280):
            page.set_viewport_size({"width": width, "height": 740})
            found = barriers(page, known)
            assert all("color-contrast" in each or "link-in-text-block" in each for each in found), found
            seen.append(sorted(re.findall(r">([\w ]+)</(?:p|h2|a)>", "".join(found))))
    assert seen == [["a hidden one", "faint here", "faint here", "faint there", "through"], ["on a telephone"], []]


def test_a_page_opens_in_the_colours_of_the_reader_and_can_be_read_from_the_keyboard(browser):
    entry, stops = page_of(NUMBERED[1]), []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme, offline=True, viewport=PHONE)
        page.goto((BUILT / entry).as_uri())
        assert not (problems := page.evaluate(INSPECT, scheme)), f"{entry} ({scheme}): {problems}"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content", "the first stop of all"
    page.wait_for_function("document.activeElement.getBoundingClientRect().top >= 0")  # it slides into sight
    page.keyboard.press("Enter")
    # On a telephone its code is wider than the screen, and so are equations.
    while not {"A", "PRE", "MJX-CONTAINER"} <= set(stops):
        page.keyboard.press("Tab")
        stop, inside = page.evaluate("[document.activeElement.tagName, document.querySelector('main').contains(document.activeElement)]")
        assert inside, f"{entry}: from the skip link the tabulator reached {stops}"
        stops.append(stop)


def test_search_finds_a_chapter_offline(tab):
    page, problems, _ = tab
    problems.clear()
    page.set_viewport_size(WIDE)
    page.goto((BUILT / "search.html").as_uri())
    page.keyboard.type("ConfMix")  # into the field, which has the focus
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results .search-summary:has-text('found')", timeout=60_000)
    found = page.evaluate("[...document.querySelectorAll('#search-results a')].map((link) => link.pathname)")
    assert not problems, f"search.html: {problems}"
    assert any(link.endswith("book/03_self_challenging.html") for link in found), f"search.html found {found}"


# Which input has the focus, and what its picture shows; the first explorable gets the focus.
FOCUS = "() => { const box = document.querySelector('[data-explorable]'); box.tabIndex = -1; box.focus(); }"
INPUT = "() => ({ name: document.activeElement.name, label: document.activeElement.labels?.[0]?.textContent })"
DRAWN = "document.querySelector('[data-explorable] svg.marks:not(.still *)').outerHTML"
SAID = "document.querySelector('[data-explorable] [aria-live]').textContent"
READ = "document.querySelector('[data-explorable] svg.marks:not(.still *) [class*=readout]').textContent"
SCALE = """
() => [...document.querySelectorAll("[data-explorable] svg")].filter((svg) => svg.checkVisibility())
  .map((svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)
"""


def moved(page):
    """The inputs of the only explorable of a page by name, each reached with Tab, moved by a key, and seen to move it."""
    page.wait_for_selector("[data-explorable][data-drawn]")
    spec = json.loads(page.text_content("[data-explorable] script"))
    assert len(json.dumps(spec)) < 100_000 and not spec.get("usermeta")
    page.evaluate(FOCUS)
    found = []
    for param in spec["params"]:
        page.keyboard.press("Tab")
        found.append(page.evaluate(INPUT))
        assert param["bind"]["name"].strip() in found[-1]["label"], f"{param['name']}: no label, or not the next stop"
        before, said = page.evaluate(DRAWN), page.evaluate(SAID)
        page.keyboard.press("ArrowDown" if param["bind"]["input"] == "select" else "ArrowRight")
        page.wait_for_function(f"([before, said]) => {DRAWN} !== before && {SAID} !== said", arg=[before, said])
        assert page.evaluate(f"{READ} === {SAID}"), "a screen reader says something else than the picture"
    return [each["name"] for each in found]


@pytest.mark.parametrize("name", EXPLORABLES)
def test_explorable_is_moved_from_the_keyboard_and_fits_a_telephone(tab, name):
    page, problems, _ = tab
    problems.clear()
    page.set_viewport_size(WIDE)
    page.goto((BUILT / name).as_uri())
    assert page.locator("[data-explorable]").count() == 1, f"{name}: teach this test of several"
    names = moved(page)
    values = "names => names.map((name) => document.querySelector(`[data-explorable] [name=${name}]`).value)"
    before, wide = page.evaluate(values, names), page.evaluate(DRAWN)
    page.set_viewport_size(PHONE)
    page.wait_for_function(f"before => {DRAWN} !== before", arg=wide)
    assert page.evaluate(values, names) == before, "what the reader chose stays when the screen is turned"
    for media, least in (("print", 0.8), ("screen", 0.95)):
        page.emulate_media(media=media)
        (scale,) = page.evaluate(SCALE)
        assert scale > least, f"{name} ({media}): drawn {scale:.2f} times as large as it is meant on a telephone"
    assert not problems, f"{name}: {problems}"


def explorable_of(tab, chapter, size):
    """The page of a chapter whose explorable has been drawn, and what goes wrong on it from then on."""
    page, problems, _ = tab
    problems.clear()
    page.emulate_media(media="screen")
    page.set_viewport_size(size)
    page.goto((BUILT / f"book/{chapter}.html").as_uri())
    page.wait_for_selector("[data-explorable][data-drawn]")
    return page, problems


def test_plain_score_stays_at_one_when_labels_are_shuffled(tab):
    page, problems = explorable_of(tab, "03_self_challenging", WIDE)
    features = page.evaluate("[...document.querySelector('[name=features]').options].map((option) => option.text)")
    page.select_option("[name=features]", features[-1])
    for labels in ("true", "shuffled"):
        page.select_option("[name=labels]", labels)
        page.wait_for_function(f"{READ}.includes('{labels} labels')")
        assert page.evaluate(READ).endswith("SFDA 1.00")
    page.select_option("[name=features]", features[0])
    page.wait_for_function(f"!{READ}.endsWith('SFDA 1.00')")
    assert not problems, problems


def test_results_that_are_chosen_are_those_of_the_tables(tab):
    page, problems = explorable_of(tab, "07_who_wins", PHONE)
    for group, metric, task in (("self-supervised", "LogME", "usps"), ("transformers", "NLEEP", "kmnist")):
        for name, choice in {"group": group, "metric": metric, "task": plots.NAMES[task]}.items():
            page.select_option(f"[data-explorable] [name={name}]", choice)
        scores, runs, _ = verdict.contest(group)
        tau, lost = (verdict.judge(scores, runs, how).loc[metric, task] for how in (ranking.weighted_tau, ranking.regret))
        said = f"weighted tau {tau:.2f}, {100 * lost:.1f} points lost".replace("-", "\N{MINUS SIGN}")
        page.wait_for_function(f"said => {SAID} === said", arg=said)
        best = plots.NAMES[runs[runs["task"] == task].groupby("model")["accuracy"].mean().idxmax()]
        assert f"best: {best}" in page.evaluate(DRAWN)
    assert not problems, problems


def test_a_record_grows_by_the_slider_and_says_where_it_has_no_scores(tab):
    page, problems = explorable_of(tab, "10_past_results", WIDE)
    said = []
    for name, value, told in [("past", "1", "record, 1 past task:"), ("past", "5", "record, 5 past tasks:"),
                              ("task", "3", "record, 5"), ("way", "record and score", "record and score, 5"),
                              ("table", "VTAB, 1,000 images", "no scores here; record, 5")]:  # fmt: skip
        chosen = page.locator(f"[data-explorable] [name={name}]")
        chosen.select_option(value) if name in ("way", "table") else chosen.fill(value)
        page.wait_for_function(f"told => {READ}.startsWith(told) && {READ} === {SAID}", arg=told)
        said.append(page.evaluate(READ).partition(":")[2])
    assert len(set(said)) == len(said), "the same numbers whatever the reader chooses"
    assert not problems, f"10_past_results: {problems}"


@pytest.mark.parametrize("name", EXPLORABLES)
def test_explorable_is_a_picture_where_scripts_are_off(browser, name):
    with browser.new_context(offline=True, java_script_enabled=False, viewport=PHONE) as context:
        page = context.new_page()
        page.goto((BUILT / name).as_uri())
        picture = page.locator("[data-explorable] svg[role=img]")
        assert picture.count() == 1 and picture.get_attribute("aria-label")
        box = picture.bounding_box()
        assert box["width"] > 250 and box["height"] > 250 and box["x"] + box["width"] <= PHONE["width"]
        assert page.locator("[data-explorable] :is(input, select)").count() == 0, "an input that does nothing"


@pytest.mark.parametrize("name", EXPLORABLES)
def test_explorable_works_elsewhere(browser, name):
    """The output alone, as Jupyter and Colab show it, with Vega from the network, where there is one."""
    notebook = json.loads((ROOT / name).with_suffix(".ipynb").read_text(encoding="utf-8"))
    (output,) = ["".join(output["data"]["text/html"]) for cell in notebook["cells"] for output in cell.get("outputs", [])
                 if "data-explorable" in "".join(output.get("data", {}).get("text/html", ""))]  # fmt: skip
    asked, vega = [], (BUILT / "_static" / "vega.js").read_text(encoding="utf-8")

    def answer(route):
        asked.append(route.request.url.rpartition("/")[2])
        route.fulfill(body=vega if "embed" in asked[-1] else "", content_type="text/javascript")

    with browser.new_context() as context:
        context.route(re.compile("^https://cdn.jsdelivr.net/"), answer)
        page = context.new_page()
        page.set_content(f"<!doctype html><body>{output}</body>")
        moved(page)
    assert asked == ["vega@6", f"vega-lite@{VEGA_LITE}", "vega-embed@7"]


# The tip that is shown, what it says in words, and whether it is whole on the screen.
TIP = """
() => {
  const tip = document.getElementById("tip"), box = tip?.getBoundingClientRect();
  return tip && { text: tip.textContent, svg: tip.querySelectorAll("mjx-container svg").length, image: tip.querySelector("img")?.naturalWidth,
    inside: box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
    for: document.querySelector("[aria-describedby=tip]")?.textContent };
}
"""


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "telephone"])
def test_words_letters_and_references_say_what_they_are(tab, size):
    page, problems, known = tab
    problems.clear()
    page.set_viewport_size(size)
    page.goto((BUILT / page_of(NUMBERED[2])).as_uri())
    page.wait_for_function("MathJax.startup.promise")
    page.evaluate("() => MathJax.startup.promise")

    def tip_of(selector, containing, act):
        place = page.locator(selector).first
        place.scroll_into_view_if_needed()
        act(place)
        page.wait_for_function(f"text => ({TIP})()?.text.includes(text)", arg=containing, timeout=5_000)
        found = page.evaluate(TIP)
        assert found["inside"], f"{selector}: its tip is not whole on the screen"
        return found

    def hover(place):
        place.hover()

    def focus(place):
        place.evaluate("(e) => { e.setAttribute('tabindex', 0); e.focus({ focusVisible: true }); }")

    for act in (hover, focus):
        said = tip_of("a[href$='#term-ConfMix']", "a sample becomes a weighted mean", act)
        assert said["for"] == "ConfMix" and not barriers(page, known)
        page.keyboard.press("Escape")
        assert page.evaluate(TIP) is None
        page.mouse.move(0, 0)
        tip_of("[data-tip='symbol \\\\(\\\\lambda\\\\)']", "strength of the shrinkage", act)
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        # All letters of an equation that is displayed.
        said = tip_of("div.math[data-tip]", "confidence", act)
        assert "symbol" not in said["text"] and said["text"].count(":") > 1
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        # An equation of another chapter, which is typeset, and a figure.
        tip_of("a[href^='02_fisher_discriminant.html#equation-']", "", act)
        page.wait_for_function(f"() => ({TIP})()?.svg > 0")
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        tip_of("main a.internal[href*='#fig-']", " ", act)
        page.wait_for_function(f"() => ({TIP})()?.image > 0")
        assert page.evaluate(TIP)["inside"]
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
    # It stays while the pointer is on it, and goes when that leaves.
    tip_of("a[href$='#ch-pocket']", "A zoo in your pocket", hover)
    page.locator("#tip").hover()
    page.wait_for_timeout(400)
    assert page.evaluate(TIP)
    page.mouse.move(0, 0)
    page.wait_for_function("() => !document.getElementById('tip')")

    def tap(place):
        place.dispatch_event("pointerdown", {"pointerType": "touch", "bubbles": True})
        place.dispatch_event("click")

    # A finger's first tap shows what a word means, its second follows the link.
    word = "a[href$='#term-ConfMix']"
    tip_of(word, "a sample becomes a weighted mean", tap)
    tap(page.locator("article h1"))
    assert page.evaluate(TIP) is None and "#term-" not in page.url
    tip_of(word, "a sample becomes a weighted mean", tap)
    tap(page.locator(word).first)
    page.wait_for_url("**/symbols.html#term-ConfMix")
    assert not problems, problems


def test_every_term_of_the_glossary_has_a_tip_and_all_of_them_weigh_little():
    text = (BUILT / "_static" / "tips_data.js").read_text(encoding="utf-8")
    tips = json.loads(text.removeprefix("window.TIPS = ").removesuffix(";\n"))
    named = {f"book/symbols.html#{each}" for each in re.findall('<dt id="(term-.*?)"', (BUILT / "book" / "symbols.html").read_text(encoding="utf-8"))}
    assert len(named) > 50 and named <= set(tips)
    assert len(text) < 150_000 and not re.search("<script|<a |onload=", text)
    for chapter in NUMBERED:
        page = (BUILT / page_of(chapter)).read_text(encoding="utf-8")
        marks = re.findall('data-tip="(.*?)"', page)
        keys = {key for mark in marks for key in unescape(mark).split("\n")}
        assert keys <= set(tips)
        if "choosing_several" in chapter:  # words within a letter are part of it
            assert r"symbol \(T^{\text{SFDA}}_m\)" in keys
        assert page.count("std-term") >= 3, f"{chapter}: hardly a term of the glossary in it"


@pytest.mark.parametrize("entry", [NUMBERED[0], NUMBERED[2], "book/claims.ipynb"])
def test_a_page_is_whole_on_paper(browser, entry):
    page = browser.new_page(offline=True, viewport=WIDE)
    page.goto((BUILT / page_of(entry)).as_uri())
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.emulate_media(media="print")
    # As wide as A4 is between the margins, in the pixels of a style sheet.
    page.set_viewport_size({"width": 718, "height": 1000})
    assert page.evaluate(ON_PAPER) == []
    # Without their numbers and equations, which are no text of theirs.
    headings = page.evaluate("""[...document.querySelectorAll("main article :is(h1, h2, h3)")].flatMap((heading) =>
      [...heading.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data))""")
    made = page.pdf(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1cm"))
    page.close()
    assert made.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", made)) >= 2
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-", "-"], input=made, capture_output=True, check=True).stdout.decode()
        lost = [heading for heading in headings if "".join(heading.split()) not in "".join(text.split())]
        assert len(headings) > 3 and not lost, f"{entry}: not in the PDF: {lost}"


@pytest.mark.parametrize("name", PAGES)
def test_page_loads_vega_only_if_it_has_a_use_for_it(addresses, name):
    scripts = {link.rpartition("/")[2].partition("?")[0] for link in addresses[BUILT / name].links}
    assert {"vega.js", "explorable.js"} & scripts == ({"vega.js", "explorable.js"} if name in EXPLORABLES else set())
    assert "data-elsewhere" not in (BUILT / name).read_text(encoding="utf-8"), "see load_vega in book/_ext/companion.py"


@pytest.mark.parametrize("name", PAGES)
def test_page_weighs_little_and_its_links_within_the_book_lead_somewhere(addresses, name):
    page = BUILT / name
    for link in addresses[page].links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:  # the web's: the weekly check of links asks for those
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.is_file(), f"{name}: {link} leads to no file of the book"
        if target in addresses:
            assert unquote(parts.fragment) in addresses[target].anchors, f"{name}: {link} leads to no place in that page"
    images = {path: path.stat().st_size / 1e6 for link in addresses[page].images
              if not urlsplit(link).scheme and (path := (page.parent / unquote(link)).resolve()).is_file()}  # fmt: skip
    named = sum(text.count("{download}`") for path in (page.relative_to(BUILT).with_suffix(".md"),) if (ROOT / path).is_file()
                for text in [(ROOT / path).read_text(encoding="utf-8")])  # fmt: skip
    fetched = [link for link in addresses[page].links if "_downloads/" in link]
    assert len(fetched) == named, f"{name}: {named} files to download are named, {len(fetched)} linked"
    weight = page.stat().st_size / 1e6 + sum(images.values())
    heaviest = ", ".join(f"{path.name} {size:.2f}" for path, size in sorted(images.items(), key=lambda item: -item[1])[:3])
    assert weight < HEAVIEST, f"{name}: {weight:.2f} MB with its pictures, at most {HEAVIEST}; lower the dpi of {heaviest}"
