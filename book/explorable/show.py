"""Shows a chart that readers can move.

It is drawn by ``_static/explorable.js``. In the book that and Vega are files of the book; elsewhere the output itself
brings it, and Vega comes from where Altair has it from. Until it is drawn, and where scripts are off, a static picture
of the same chart stands there.
"""

import html
import json
import re
from pathlib import Path

import matplotlib
from IPython.display import display

VEGA_LITE = "6.1"  # its version: in the static pictures, elsewhere, and in the book, whose companion.py reads this line
FONT = "DejaVu Sans, sans-serif"  # comes with matplotlib: static pictures do not differ between machines
# Paper is the page's, and ink the text's: both follow the reader's theme.
CONFIG = {
    "background": "transparent", "font": FONT,
    # The whole picture has a text; of each point of it no screen reader should speak.
    "mark": {"aria": False}, "view": {"stroke": None}, "text": {"color": "currentColor", "fontSize": 12},
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "axis": {
        "aria": False, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.12,
    } | dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), "currentColor"),
}  # fmt: skip
ELSEWHERE = f"""\
<script type="module" data-elsewhere>
for (const name of ["vega@6", "vega-lite@{VEGA_LITE}", "vega-embed@7"]) {{
  if (window.vegaEmbed) break;
  const script = document.createElement("script");
  script.src = `https://cdn.jsdelivr.net/npm/${{name}}`;
  await new Promise((done) => {{ script.onload = script.onerror = done; document.head.append(script); }});
}}
%s</script>
"""


def explorable(chart, alt):
    """Show a chart that its inputs move.

    Parameters
    ----------
    chart : altair.TopLevelMixin
        A concatenation, whose panels stand below each other on a telephone. Its parameters have names, and inputs with
        labels; a panel named readout is a text that says what the reader has chosen.
    alt : str
        What it shows, for those who cannot see it.
    """
    spec = {key: part for key, part in chart.to_dict().items() if key not in ("$schema", "config")}
    spec |= {"config": CONFIG, "description": alt}
    data = json.dumps(spec, sort_keys=True, separators=(",", ":")).replace("</", r"<\/")
    data = re.sub(r'"readout_\d+"', '"readout"', data)  # Altair 6 numbers what has a name
    draw = Path(__file__).parents[1].joinpath("_static", "explorable.js").read_text(encoding="utf-8")
    display({"text/plain": f"explorable: {alt}", "text/html": (
        f'<div data-explorable role="group" aria-label="{html.escape(alt)}">\n'
        f'<div class="still">{_still(spec, alt)}</div>\n'
        f'<script type="application/json">{data}</script>\n</div>\n{ELSEWHERE % draw}')}, raw=True)  # fmt: skip


def _still(spec, alt):
    """The chart as it is first seen, as SVG, narrow enough for a telephone; nothing where vl-convert is missing."""
    try:
        import vl_convert
    except ImportError:  # Colab
        return "<svg></svg>"
    vl_convert.register_font_directory(str(Path(matplotlib.get_data_path(), "fonts", "ttf")))
    svg = vl_convert.vegalite_to_svg(spec | {"columns": 1}, vl_version=VEGA_LITE)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
