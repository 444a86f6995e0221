/* What the theme leaves undone for readers at a keyboard, and for those whose book is a folder. */

// A page that was opened as a file may not fetch others, so no text can be shown around what is found.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

document.addEventListener("DOMContentLoaded", () => {
  // The theme gives the focus to the field of a closed dialog.
  document.querySelector(".bd-search-container input[type=search]")?.focus();

  // A table is made to fit if it can be. A box that scrolls all the same (see custom.css) is a stop of the tabulator: there the arrow keys move it.
  const main = document.querySelector("main");
  const addStops = () => {
    for (const box of main.querySelectorAll('figure, .output.text_html, .pst-scrollable-table-container, mjx-container[display="true"]')) {
      box.classList.remove("tight", "upright");
      for (const remedy of box.querySelector("table.dataframe") ? ["tight", "upright"] : []) {
        box.classList.toggle(remedy, box.scrollWidth > box.clientWidth);
      }
      const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible";
      box.classList.toggle("scrolls", scrolls && box.scrollWidth > box.clientWidth + 8);  // more than a margin
      if (scrolls) {
        box.tabIndex = 0;
      } else {
        box.removeAttribute("tabindex");
      }
    }
  };
  // Numbers stand below each other at their right end, columns of words at their left (see custom.css).
  for (const table of main?.querySelectorAll("table.dataframe") ?? []) {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].reverse());  // heads of rows may span some
    const heads = [...[...(table.tHead?.rows ?? [])].at(-1)?.cells ?? []].reverse();
    rows[0]?.forEach((_, i) => {
      const column = rows.map((row) => row[i]).filter((cell) => cell?.tagName === "TD");
      const words = column.some((each) => /\p{L}{4}/u.test(each.textContent));
      [...column, heads[i]].forEach((cell) => cell?.classList.toggle("words", words));
    });
  }

  // The page grows when its equations are typeset, and shrinks with the window.
  if (main) {
    new ResizeObserver(addStops).observe(main);
  }
});
