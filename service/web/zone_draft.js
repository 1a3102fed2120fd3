// A zone that is drawn with the pointer, or by Enter at the cross-hair, and its lines for the settings file.

import { byId, write } from "./dom.js";

const DIGITS = 3; // of a share of the width: a pixel of 1000

export class ZoneDraft {
  #corners = []; // shares of width and height
  #drawing = false;
  #changed;

  constructor(changed) {
    this.#changed = changed;
    byId("draw-zone").onclick = () => this.#toggle();
  }

  // A corner where the pointer pressed; false if no zone is being drawn.
  add({ x, y }, { width, height }) {
    if (!this.#drawing) return false;
    this.#corners.push([share(x, width), share(y, height)]);
    this.#present();
    return true;
  }

  // What is drawn over the picture; null: nothing.
  get zone() {
    return this.#corners.length ? { name: "", polygon: this.#corners, units: "relative" } : null;
  }

  #toggle() {
    this.#drawing = !this.#drawing;
    if (this.#drawing) this.#corners = [];
    byId("draw-zone").setAttribute("aria-pressed", this.#drawing);
    this.#present();
  }

  #present() {
    const whole = this.#corners.length > 2;
    byId("zone-lines").hidden = !whole;
    const corners = this.#corners.map((corner) => `[${corner.join(", ")}]`).join(", ");
    if (whole) write(byId("zone-text"), `[[rigs.zones]]\nname = "zone"\npolygon = [${corners}]`);
    write(byId("spoken"), this.#drawing ? `${this.#corners.length} corners` : "");
    this.#changed();
  }
}

function share(place, length) {
  return Number(Math.min(1, Math.max(0, (place + 0.5) / length)).toFixed(DIGITS));
}
