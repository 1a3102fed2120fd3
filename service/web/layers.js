// What the viewer draws of a scene: for each view the pictures that lie on one another.

import { table, word } from "./palette.js";

export const VIEWS = { visible: "Visible", infrared: "Infrared", fused: "Fused", overlay: "Overlay", blend: "Infrared over visible" };

// The parts of a live result that each view is drawn from.
export const PARTS_OF = { visible: ["visible"], infrared: ["infrared"], fused: ["fused"], overlay: ["fused", "mask"], blend: ["visible", "infrared"] };

const OUTLINE = 2.2; // times the opacity of the area
const BLEND = 0.5; // opacity of infrared over visible

export class Layers {
  #infrared = new OffscreenCanvas(1, 1);
  #tint = new OffscreenCanvas(1, 1);
  #due = {}; // what has to be coloured before it is drawn
  scene = null;
  nudge = { right: 0, down: 0 }; // pixels of the visible frame

  set(scene, palette, classes, opacity) {
    this.scene = scene;
    this.colourInfrared(palette);
    this.colourMask(classes, opacity);
  }

  colourInfrared(palette) {
    this.#due.infrared = () => this.#colourInfrared(palette);
  }

  // `classes`: [{id, colour, shown}]; ids that are none of them stay clear.
  colourMask(classes, opacity) {
    this.#due.tint = () => this.#colourMask(classes, opacity);
  }

  #coloured(name, canvas) {
    this.#due[name]?.();
    delete this.#due[name];
    return canvas;
  }

  #colourInfrared(palette) {
    const colours = table(palette);
    paint(this.#infrared, this.scene, (out, { infrared }) => {
      for (let at = 0; at < out.length; at++) out[at] = colours[infrared[at]];
    });
  }

  #colourMask(classes, opacity) {
    const areas = colours(classes, opacity);
    const lines = colours(classes, Math.min(1, OUTLINE * opacity));
    paint(this.#tint, this.scene, (out, { labels, width }) => {
      for (let at = 0; at < out.length; at++) {
        const id = labels[at];
        const edge = (at >= width && labels[at - width] !== id) || (at % width && labels[at - 1] !== id);
        out[at] = edge ? lines[id] : areas[id];
      }
    });
  }

  // Infrared where the nudge would put it.
  #moved(opacity) {
    const coloured = this.#coloured("infrared", this.#infrared);
    const { right, down } = this.nudge;
    if (!right && !down && opacity === 1) return coloured;
    const { width, height, view } = this.scene;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.globalAlpha = opacity;
    context.drawImage(coloured, right * (width / (view?.width ?? width)), down * (height / (view?.height ?? height)));
    return canvas;
  }

  of(view) {
    const { visible, fused, infrared, labels } = this.scene;
    if (view === "infrared") return infrared ? [this.#moved(1)] : [];
    if (view === "blend") return visible && infrared ? [visible, this.#moved(BLEND)] : [];
    if (view === "overlay") return fused && labels ? [fused, this.#coloured("tint", this.#tint)] : [];
    return [{ visible, fused }[view]].filter(Boolean);
  }
}

function colours(classes, opacity) {
  const words = new Uint32Array(256);
  for (const { id, colour, shown } of classes) {
    if (shown) words[id] = word(...colour, Math.round(255 * opacity));
  }
  return words;
}

function paint(canvas, scene, fill) {
  if (canvas.width !== scene.width || canvas.height !== scene.height) {
    canvas.width = scene.width;
    canvas.height = scene.height;
  }
  const image = new ImageData(scene.width, scene.height);
  fill(new Uint32Array(image.data.buffer), scene);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
