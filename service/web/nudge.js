// Infrared moved by hand, by pixels of the visible frame, and what was moved saved to the rig file.

import { byId, write } from "./dom.js";
import { open, read } from "./door.js";

const FAR = 10; // pixels that a key or a button moves with Shift
const WAYS = { "nudge-left": [-1, 0], "nudge-right": [1, 0], "nudge-up": [0, -1], "nudge-down": [0, 1] };
const KEYS = { ArrowLeft: "nudge-left", ArrowRight: "nudge-right", ArrowUp: "nudge-up", ArrowDown: "nudge-down" };

export class Nudge {
  #changed;
  #rig = null;
  #saving = false;
  by = { right: 0, down: 0 };

  // `changed()` is called when infrared is to be drawn elsewhere.
  constructor(changed) {
    this.#changed = changed;
    for (const [id, way] of Object.entries(WAYS)) byId(id).onclick = ({ shiftKey }) => this.#move(way, shiftKey);
    byId("nudge").onkeydown = (event) => {
      if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.#move(WAYS[KEYS[event.key]], event.shiftKey);
    };
    byId("nudge-none").onclick = () => this.#set(0, 0);
    byId("nudge-save").onclick = () => this.#save();
  }

  // Begin with another rig; null: none.
  begin(rig) {
    this.#rig = rig;
    this.#set(0, 0);
  }

  present({ savable }) {
    byId("nudge-save").hidden = !savable;
  }

  #move([right, down], far) {
    const step = far ? FAR : 1;
    this.#set(this.by.right + step * right, this.by.down + step * down);
  }

  #set(right, down) {
    this.by = { right, down };
    const moved = right !== 0 || down !== 0;
    byId("nudge-save").disabled = !moved || this.#saving;
    byId("nudge-none").disabled = !moved;
    write(byId("nudge-by"), `${along(right, "right", "left")}, ${along(down, "down", "up")}`);
    write(byId("nudge-told"), "");
    this.#changed();
  }

  async #save() {
    const { right, down } = this.by;
    const rig = this.#rig;
    this.#saving = byId("nudge-save").disabled = true;
    try {
      const answer = await open(`live/${encodeURIComponent(rig)}/nudge?right=${right}&down=${down}`, { method: "POST" });
      const told = await read(answer);
      if (!answer.ok) throw new Error(told.detail);
      this.#saved(rig, right, down, `Saved; the old file is ${told.backup}`);
    } catch (error) {
      this.#saved(rig, 0, 0, `Not saved: ${error.message}`);
    }
  }

  // What was moved meanwhile stays; another rig may be shown by now.
  #saved(rig, right, down, text) {
    this.#saving = false;
    if (rig !== this.#rig) return;
    this.#set(this.by.right - right, this.by.down - down);
    write(byId("nudge-told"), text);
  }
}

function along(pixels, forward, backward) {
  return `${Math.abs(pixels)} px ${pixels < 0 ? backward : forward}`;
}
