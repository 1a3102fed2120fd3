// What the viewer draws of a scene: for each view the pictures that lie on one another.

import { table, word } from "./palette.js";

export const VIEWS = { visible: "Visible", infrared: "Infrared", fused: "Fused", overlay: "Overlay" };

const OUTLINE = 2.2; // times the opacity of the area

export class Layers {
  #infrared = new OffscreenCanvas(1, 1);
  #tint = new OffscreenCanvas(1, 1);
  scene = null;

  set(scene, palette, classes, opacity) {
    this.scene = scene;
    this.colourInfrared(palette);
    this.colourMask(classes, opacity);
  }

  colourInfrared(palette) {
    const colours = table(palette);
    paint(this.#infrared, this.scene, (out, { infrared }) => {
      for (let at = 0; at < out.length; at++) out[at] = colours[infrared[at]];
    });
  }

  // `classes`: [{id, colour, shown}]; ids that are none of them stay clear.
  colourMask(classes, opacity) {
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

  of(view) {
    const { visible, fused } = this.scene;
    return { visible: [visible], infrared: [this.#infrared], fused: [fused], overlay: [fused, this.#tint] }[view];
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
