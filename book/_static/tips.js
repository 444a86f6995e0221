// Shows what book/_ext/tips.py knows of a term, the letters of a formula, an equation, a figure, a chapter or a citation, beside it.
document.addEventListener("DOMContentLoaded", () => {
  const main = document.querySelector("main");
  if (!main || !window.TIPS) return;
  const root = new URL(document.documentElement.dataset.content_root, location.href).href;
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  let owner = null, timer = 0;

  const told = (element) => {
    if (element.dataset.tip) return element.dataset.tip.split("\n").map((key) => TIPS[key]).join("");
    const address = new URL(element.href);
    address.search = "";
    return address.href.startsWith(root) ? TIPS[decodeURI(address.href.slice(root.length))] : undefined;
  };
  const place = () => {
    const box = owner.getClientRects()[0], wide = document.documentElement.clientWidth;
    if (!box) return;
    // Below, unless there is more room above and it needs that.
    const below = innerHeight - box.bottom - 14, above = box.top - 14;
    tip.style.maxHeight = "none";
    const under = tip.offsetHeight <= below || below >= above;
    tip.style.maxHeight = `${under ? below : above}px`;
    tip.style.top = `${under ? box.bottom + 6 : box.top - 6 - tip.offsetHeight}px`;
    tip.style.left = `${Math.max(8, Math.min(box.left, wide - tip.offsetWidth - 8))}px`;
  };
  const hide = () => {
    clearTimeout(timer);
    owner?.removeAttribute("aria-describedby");
    owner = null;
    tip.remove();
  };
  const show = async (element, text) => {
    hide();
    owner = element;
    tip.innerHTML = text;
    element.setAttribute("aria-describedby", tip.id);
    main.append(tip);
    place();
    for (const image of tip.querySelectorAll("img")) image.onload = () => owner === element && place();
    if (tip.querySelector(".math")) {
      await window.MathJax?.startup?.promise;
      await window.MathJax?.typesetPromise?.([tip]);
      if (owner === element) place();
    }
  };

  // The pointer may go from the word to the tip, which stays as long as it is on one of the two.
  const consider = (event) => {
    const element = event.target.closest?.("a.internal[href], [data-tip], #tip");
    if (element === tip || (element && element === owner)) return clearTimeout(timer);
    const text = element && told(element);
    clearTimeout(timer);
    if (text) timer = setTimeout(show, 150, element, text);
    else if (owner) timer = setTimeout(hide, 250);
  };
  main.addEventListener("pointerover", (event) => event.pointerType !== "touch" && consider(event));
  main.addEventListener("pointerleave", () => { clearTimeout(timer); timer = setTimeout(hide, 250); });
  // A finger cannot hover: its first tap on a term or an equation shows the tip, the second follows the link.
  let touch = false;
  main.addEventListener("pointerdown", (event) => { touch = event.pointerType === "touch"; });
  main.addEventListener("click", (event) => {
    const letter = event.target.closest("[data-tip]");
    const link = touch && event.target.closest("a.internal:is([href*='#term-'], [href*='#equation-'])");
    const element = letter || link, text = element && element !== owner && told(element);
    if (text) {
      event.preventDefault();
      show(element, text);
    } else if (touch && !element && !tip.contains(event.target)) hide();
  });
  main.addEventListener("focusin", (event) => {
    const element = event.target.closest("a.internal[href], [data-tip]");
    const text = element?.matches(":focus-visible") && told(element);
    if (text) show(element, text);
  });
  main.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", () => owner && place(), { passive: true });
});
