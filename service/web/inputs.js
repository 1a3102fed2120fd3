// The two frames that go to the service: dropped, picked, from a sample, a video or a camera.

import { byId, write } from "./dom.js";
import { cameraSource, cameras, fileSource, sampleSource } from "./sources.js";

export const PARTS = ["visible", "infrared"];
const THERMAL = /infrared|thermal|lwir|(^|[^a-z])ir([^a-z]|$)/i;

export class Inputs {
  sources = { visible: null, infrared: null };
  #said;
  #sample = 0; // number of the newest choice: one that was overtaken is not taken

  // `said`: {changed(), wrong(error)}
  constructor(said) {
    this.#said = said;
    for (const part of PARTS) this.#listen(part, slot(part));
    // A file that misses the slots must not replace the page.
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      const files = [...event.dataTransfer.files];
      if (files.length === 1) this.#said.wrong(new Error("One file came: drop it on Visible or on Infrared"));
      else if (files.length) this.#try(() => this.#takeFiles("visible", files));
    });
    byId("swap").onclick = () => this.#swap();
  }

  get complete() {
    return PARTS.every((part) => this.sources[part]);
  }

  get moving() {
    return this.complete && PARTS.some((part) => this.sources[part].moving);
  }

  get seconds() {
    return Math.min(...PARTS.map((part) => this.sources[part]?.seconds ?? Infinity));
  }

  async at(seconds) {
    await Promise.all(PARTS.map((part) => this.sources[part].at(seconds)));
  }

  async grab() {
    const files = await Promise.all(PARTS.map((part) => this.sources[part].grab()));
    return { visible: files[0], infrared: files[1] };
  }

  async useSample({ name, visible, infrared }) {
    const paths = { visible, infrared };
    const mine = ++this.#sample;
    const given = await Promise.all(PARTS.map((part) => sampleSource(paths[part], `${name}-${part}.png`)));
    if (mine !== this.#sample) return;
    PARTS.forEach((part, place) => this.#take(part, given[place]));
    press(name);
    this.#said.changed();
  }

  mark(wrong) {
    for (const part of PARTS) slot(part).classList.toggle("wrong", part === wrong);
  }

  #listen(part, zone) {
    zone.querySelector("input").onchange = (event) => {
      const files = [...event.target.files];
      event.target.value = ""; // the same file may be picked again
      if (files.length) this.#try(() => this.#takeFiles(part, files));
    };
    zone.ondragover = (event) => { event.preventDefault(); zone.classList.add("over"); };
    zone.ondragleave = () => zone.classList.remove("over");
    zone.ondrop = (event) => {
      event.preventDefault();
      event.stopPropagation();
      zone.classList.remove("over");
      const files = [...event.dataTransfer.files];
      if (files.length) this.#try(() => this.#takeFiles(part, files));
    };
    zone.querySelector(".camera").onclick = () => this.#try(() => this.#useCamera(part));
    zone.querySelector("select").onchange = (event) => this.#try(() => this.#useCamera(part, event.target.value));
  }

  async #try(action) {
    this.#sample++;
    try {
      await action();
      press(null);
      this.#said.changed();
    } catch (error) {
      this.#said.wrong(error);
    }
  }

  async #takeFiles(target, files) {
    if (files.length < 2) {
      this.#take(target, await fileSource(files[0]));
      return;
    }
    // Two files at once: the one that calls itself thermal is, else the second.
    const infrared = THERMAL.test(files[0].name) ? 0 : 1;
    const given = await Promise.all([fileSource(files[1 - infrared]), fileSource(files[infrared])]);
    PARTS.forEach((part, place) => this.#take(part, given[place]));
  }

  async #useCamera(part, deviceId) {
    const beside = this.sources[PARTS.find((other) => other !== part)];
    let source = await cameraSource(deviceId, beside);
    const devices = await cameras();
    const free = devices.find((device) => device.deviceId !== beside?.deviceId);
    if (!deviceId && source.deviceId === beside?.deviceId && free) {
      source.stop();
      source = await cameraSource(free.deviceId, beside);
    }
    this.#take(part, source);
    const choice = slot(part).querySelector("select");
    choice.replaceChildren(...devices.map(({ deviceId: id, label }, place) =>
      new Option(label || `Camera ${place + 1}`, id, false, id === source.deviceId)));
    choice.hidden = devices.length < 2;
  }

  #take(part, source) {
    if (this.sources[part] !== source) this.sources[part]?.stop();
    this.#put(part, source);
  }

  #put(part, source) {
    const zone = slot(part);
    this.sources[part] = source;
    write(zone.querySelector(".name"), source.name);
    source.preview.onerror = () => zone.querySelector(".frame").replaceChildren("No preview of this kind of file");
    zone.querySelector(".frame").replaceChildren(source.preview);
    zone.querySelector("select").hidden = true;
    byId("swap").disabled = !this.complete;
  }

  #swap() {
    const { visible, infrared } = this.sources;
    this.#put("visible", infrared);
    this.#put("infrared", visible);
    press(null);
    this.#said.changed();
  }
}

export function press(name) {
  for (const button of byId("samples").children) {
    button.setAttribute("aria-pressed", String(button.dataset.name === name));
  }
}

function slot(part) {
  return document.querySelector(`[data-part="${part}"]`);
}
