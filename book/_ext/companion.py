"""Sphinx extension: what the book takes from elsewhere instead of keeping a copy.

- the public address and the version, from pyproject.toml, for the buttons and the foot of every page;
- MathJax, from an installed package, so that equations need no network;
- Vega, likewise, for the pages with a picture that readers can move (book/explorable/);
- memory, which Python need not search for rings of objects so often;
- docstrings, in which an author's initial must not begin a list, and fields of named tuples;
- the bibliography, whose entries must be called items where they are in a list.
"""

import gc
import re
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import vl_convert
from sphinx.ext import autodoc

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the reference imports the package, which nobody need have installed
# One file with all of TeX's extensions: the smaller tex-svg.js fetches some of
# them, \boldsymbol among them, from files that lie beside it.
MATHJAX = "tex-svg-full.js"
# The version that the pictures are written for; that module itself imports what `make book` does not install.
VEGA_LITE = re.search('\nVEGA_LITE = "(.*?)"', Path(ROOT, "book/explorable/show.py").read_text(encoding="utf-8"))[1]


def configure(app, config):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.html_theme_options["repository_url"] = project["urls"]["Repository"]
    config.html_theme_options["extra_footer"] = f"<p>Version {project['version']}</p>"
    config.mathjax_path = f"mathjax/{MATHJAX}"


def copy_mathjax(app):
    # That package is itself a Sphinx extension, which would copy all its 24 MB.
    if app.builder.format == "html":
        files = metadata.files("sphinx-mathjax-offline")
        source = next(file.locate() for file in files if file.name == MATHJAX)
        target = Path(app.outdir, "_static", app.config.mathjax_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def write_vega(app):
    if app.builder.format == "html":
        # A module, which a page that was opened as a file may not load, but for a function around it.
        bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)
        script = f"(() => {{ 'use strict'; {bundle} }})();"
        Path(app.outdir, "_static", "vega.js").write_text(script, encoding="utf-8")


def load_vega(app, pagename, templatename, context, doctree):
    if "data-explorable" in context.get("body", ""):
        # What an output brings for elsewhere asks the network.
        context["body"] = re.sub("<script[^>]* data-elsewhere>.*?</script>", "", context["body"], flags=re.S)
        for script in ("vega.js", "explorable.js"):
            app.add_js_file(script, loading_method="defer")


def keep_initials(app, what, name, obj, options, lines):
    # "A. Author" alone on a line would be the first entry of a list.
    lines[:] = [re.sub(r"^(\s*)([A-Z]\. )", r"\1\\\2", line) for line in lines]


def skip_fields(app, what, name, obj, skip, options):
    # Of a named tuple's field Python only knows its number; the class describes it.
    return True if type(obj).__name__ == "_tuplegetter" else None


def name_items(app, pagename, templatename, context, doctree):
    # docutils' role is deprecated (DPUB-ARIA 1.1): a screen reader that does
    # not know it finds a list without items.
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    # Pages are large trees that live until the end; to look through them for garbage takes a quarter of the time.
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    # A class whose base is mocked is called as its own __init__ says, not as the mock's __new__.
    autodoc._CLASS_NEW_BLACKLIST.append("sphinx.ext.autodoc.mock._MockObject.__new__")
    # After napoleon, which has made sections of the docstrings by then.
    app.connect("autodoc-process-docstring", keep_initials, priority=900)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("config-inited", configure)
    app.connect("builder-inited", copy_mathjax)
    app.connect("builder-inited", write_vega)
    app.connect("html-page-context", load_vega)
    app.connect("html-page-context", name_items)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
