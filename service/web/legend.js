// The classes of the mask: which are drawn, and how much of the picture each covers.

import { byId, element, words } from "./dom.js";

export class Legend {
  classes = []; // {id, name, colour, shown}

  constructor(changed) {
    this.changed = changed;
    byId("all-classes").onclick = () => this.#showAll(true);
    byId("no-classes").onclick = () => this.#showAll(false);
  }

  fill({ classes, background }) {
    this.classes = classes.map(({ id, name, overlay_color: colour }) => (
      { id, name, colour, shown: id !== background }));
    byId("legend").replaceChildren(...this.classes.map((one) => this.#row(one)));
  }

  // `entries` of a report; none: nothing is known any more.
  tell(entries) {
    for (const { id } of this.classes) {
      const { share = 0, confidence = null } = entries?.find((entry) => entry.id === id) ?? {};
      const row = byId("legend").children[id];
      row.classList.toggle("found", share > 0);
      row.querySelector(".share").textContent = share > 0 ? percent(share) : entries ? "–" : "";
      row.querySelector(".sure").textContent = confidence === null ? "" : `${Math.round(100 * confidence)} %`;
    }
  }

  #row(one) {
    const row = element("li");
    const label = element("label");
    const box = element("input");
    const swatch = element("span", "", "swatch");
    Object.assign(box, { type: "checkbox", checked: one.shown });
    box.onchange = () => { one.shown = box.checked; this.changed(); };
    swatch.style.background = `rgb(${one.colour})`;
    label.append(box, swatch, element("span", words(one.name), "name"));
    row.append(label, element("span", "", "share"), element("span", "", "sure"));
    return row;
  }

  #showAll(shown) {
    for (const one of this.classes) one.shown = shown;
    for (const box of byId("legend").querySelectorAll("input")) box.checked = shown;
    this.changed();
  }
}

function percent(share) {
  return share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}
