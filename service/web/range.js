// What the ends of the palette mean: levels, counts or, if the camera states them, temperatures.

import { byId, write } from "./dom.js";
import { gradient } from "./palette.js";
import { statedTemperature } from "./readout.js";

export function presentRange(scene, palette) {
  const { gain, cameras } = scene.report;
  byId("range").style.background = gradient(palette);
  const scaled = gain && gain.method !== "clahe"; // clahe has no scale that holds for the whole frame
  const ends = scaled ? [gain.low, gain.high] : [0, 255];
  if (scaled && cameras?.infrared.polarity === "black_hot") ends.reverse();
  const celsius = scaled && statedTemperature(scene);
  const [low, high] = ends.map((end) => (celsius ? `${celsius(end).toFixed(1)} °C` : String(Math.round(end))));
  write(byId("range-name"), celsius ? "Shown temperatures" : scaled ? "Shown counts" : "Shown levels");
  write(byId("range-low"), low);
  write(byId("range-high"), high);
}
