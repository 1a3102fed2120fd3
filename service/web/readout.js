// What is known of one pixel, and where the page shows it.

import { byId, words, write } from "./dom.js";

const CELSIUS = 273.15;
const NONE = "–";

// The parts of a live result that are read out.
export const READ_PARTS = ["infrared", "mask", "confidence", "counts"];

// Numbers of pixel (x, y) as they came; null for what there is not.
export function read(scene, x, y) {
  const at = y * scene.width + x;
  return {
    x, y,
    id: scene.labels && scene.labels[at],
    confidence: scene.confidence && scene.confidence[at] / 255,
    level: scene.infrared && scene.infrared[at],
    counts: scene.counts && scene.counts[at],
    celsius: celsius(scene, at),
  };
}

function celsius(scene, at) {
  const { counts, report } = scene;
  const convert = statedTemperature(scene);
  if (!convert || !counts) return null;
  const outside = report.alignment === "rig" && counts[at] === 0;
  return outside || report.cameras.infrared.invalid?.includes(counts[at]) ? null : convert(counts[at]);
}

// Degrees Celsius of a count; null unless the camera's temperatures are stated. Levels are no counts.
export function statedTemperature({ counts, report }) {
  const { kelvin_per_count: slope, kelvin_at_zero: zero } = report.cameras?.infrared ?? {};
  const areCounts = counts ? counts instanceof Uint16Array : Boolean(report.gain); // not asked for
  if (!areCounts || !slope) return null;
  return (count) => slope * count + (zero ?? 0) - CELSIUS;
}

export class Readout {
  #cells = Object.fromEntries(["pixel", "class", "confidence", "level", "counts", "celsius"]
    .map((name) => [name, byId(`read-${name}`)]));
  #swatch = byId("read-swatch");

  // `aloud`: for the keyboard; a moving pointer would never let a screen reader finish.
  show(scene, classes, point, aloud = false) {
    byId("celsius").hidden = !statedTemperature(scene);
    const texts = point ? format(read(scene, point.x, point.y), scene, classes) : {};
    for (const [name, cell] of Object.entries(this.#cells)) write(cell, texts[name] ?? NONE);
    const colour = point && classes[read(scene, point.x, point.y).id]?.colour;
    this.#swatch.hidden = !colour;
    if (colour) this.#swatch.style.background = `rgb(${colour})`;
    if (aloud) write(byId("spoken"), point ? spoken(texts) : "");
  }
}

function format({ x, y, id, confidence, level, counts, celsius: degrees }, scene, classes) {
  return {
    pixel: `${x}, ${y}`,
    class: id === null ? NONE : classes[id] ? words(classes[id].name) : `id ${id}`,
    confidence: confidence === null ? NONE : `${(100 * confidence).toFixed(1)} %`,
    level: level === null ? NONE : scene.approximate ? `≈ ${level}` : String(level),
    counts: counts === null ? NONE : String(counts),
    celsius: degrees === null ? NONE : `${degrees.toFixed(1)} °C`,
  };
}

function spoken(texts) {
  return `Pixel ${texts.pixel}: ${texts.class}, confidence ${texts.confidence}, level ${texts.level}, `
    + `counts ${texts.counts}${texts.celsius === NONE ? "" : `, ${texts.celsius}`}`;
}
