// Boxes of objects and outlines of zones, drawn over the picture.

import { words } from "./dom.js";

const LINE = 2; // stage pixels
const TEXT = 12;
const ZONE = "#ffd23f";
const UNKNOWN = "#ffffff";

// What draws the marks of a scene into a context whose unit is a picture pixel; `pixel`: stage pixels in it.
export function marksOf(scene, classes, draft) {
  const { found = [], unknown } = scene.report.objects ?? {};
  const zones = [...(scene.zones ?? []), ...(draft ? [draft] : [])];
  const { width, height } = scene.view ?? scene.report.visible ?? scene;
  const [across, down] = [scene.width / width, scene.height / height]; // the mask may have half the size
  return (context, pixel) => {
    context.lineWidth = LINE / pixel;
    context.font = `${TEXT / pixel}px system-ui, sans-serif`;
    context.textBaseline = "bottom";
    for (const zone of zones) drawZone(context, zone, pixel, scene, [across, down]);
    for (const object of found) drawObject(context, object, pixel, classes, [across, down]);
    for (const object of unknown ?? []) drawUnknown(context, object, pixel, [across, down]);
  };
}

function drawObject(context, { id, name, box, track, range_m: far, range_std_m: within }, pixel, classes, [across, down]) {
  const [x, y, width, height] = [box[0] * across, box[1] * down, box[2] * across, box[3] * down];
  const shown = classes.find((one) => one.id === id);
  if (!shown?.shown) return;
  const colour = `rgb(${shown.colour})`;
  context.strokeStyle = colour;
  context.strokeRect(x, y, width, height);
  const said = [words(name), track, typeof far === "number" ? `${far.toFixed(1)} ± ${within.toFixed(1)} m` : null];
  label(context, said.filter((each) => each !== null && each !== undefined).join(" "), x, y, pixel, colour);
}

// Dashed and white: no class stands behind it.
function drawUnknown(context, { box, track }, pixel, [across, down]) {
  const [x, y, width, height] = [box[0] * across, box[1] * down, box[2] * across, box[3] * down];
  context.strokeStyle = UNKNOWN;
  context.setLineDash([4 / pixel, 3 / pixel]);
  context.strokeRect(x, y, width, height);
  context.setLineDash([]);
  label(context, `unknown ${track}`, x, y, pixel, UNKNOWN);
}

function drawZone(context, { name, polygon, units }, pixel, scene, [across, down]) {
  const [wide, high] = units === "relative" ? [scene.width, scene.height] : [across, down];
  const corners = polygon.map(([x, y]) => [x * wide, y * high]);
  context.strokeStyle = ZONE;
  context.setLineDash([6 / pixel, 4 / pixel]);
  context.beginPath();
  for (const [x, y] of corners) context.lineTo(x, y);
  context.closePath();
  context.stroke();
  context.setLineDash([]);
  const [x, y] = corners.reduce((one, other) => (other[1] < one[1] ? other : one));
  label(context, name, x, y, pixel, ZONE);
}

// Dark letters' edges: a label is read on any picture.
function label(context, text, x, y, pixel, colour) {
  context.lineJoin = "round";
  context.lineWidth = 3 / pixel;
  context.strokeStyle = "#000c";
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
  context.lineWidth = LINE / pixel;
}
