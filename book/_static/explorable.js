// Draws the explorables of book/explorable/: in the book with its own Vega, elsewhere as part of an output.
for (const box of document.querySelectorAll("[data-explorable]:not([data-drawn])")) {
  if (!window.vegaEmbed) break;
  const spec = JSON.parse(box.querySelector("script").textContent);
  const stage = document.createElement("div"), said = document.createElement("p");
  said.className = "visually-hidden";
  said.style.cssText = "position: absolute; clip-path: inset(50%)";
  said.setAttribute("aria-live", "polite");
  const narrow = matchMedia("(max-width: 700px)");
  const draw = async () => {
    const columns = narrow.matches ? 1 : spec.columns;
    const how = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false };
    const { view } = await window.vegaEmbed(stage, { ...spec, columns }, how);
    for (const param of spec.params) {
      view.addSignalListener(param.name, (_, value) => {
        param.value = value;  // also for when it is drawn again
        view.runAsync().then(() => { said.textContent = stage.querySelector("[class*=readout]").textContent; });
      });
    }
    box.querySelector(".still").hidden = true;
    box.dataset.drawn = "";
  };
  box.append(stage, said);
  narrow.addEventListener("change", draw);
  draw();
}
