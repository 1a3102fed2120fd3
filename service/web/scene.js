// A scene: one pair with all that the service made of it, in the pixels of the visible view.
// {width, height, visible, fused: pictures to draw; infrared, labels, confidence, counts: numbers; null
// for what there is not, or was not asked for; approximate: infrared came as JPEG; report; zones and view (size of the frame that boxes are in) of its rig}

import { decodePng, inflate } from "./png.js";

// Pixels as they are: without the file's orientation, and without colour management.
const AS_STORED = { imageOrientation: "none", colorSpaceConversion: "none", premultiplyAlpha: "none" };
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array };

export async function sceneOfParts(parts) {
  const numbers = (name) => parts[name] && decodePng(parts[name]);
  const [visible, fused, mask, infrared, confidence, counts, report] = await Promise.all([
    createImageBitmap(parts.visible, AS_STORED), createImageBitmap(parts.fused, AS_STORED),
    numbers("mask"), numbers("infrared"), numbers("confidence"), numbers("counts"),
    parts.report.text().then(JSON.parse),
  ]);
  return {
    width: mask.width, height: mask.height, visible, fused, infrared: infrared.pixels, labels: mask.pixels,
    confidence: confidence?.pixels ?? null, counts: counts?.pixels ?? null, approximate: false, report,
  };
}

// A message of the live socket: length of the header, header, then its parts one after the other.
export async function sceneOfMessage(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const parts = {};
  let at = 4 + length;
  for (const part of header.parts) {
    parts[part.name] = { ...part, blob: new Blob([new Uint8Array(buffer, at, part.bytes)], { type: part.type }) };
    at += part.bytes;
  }
  const picture = (name) => (parts[name] ? createImageBitmap(parts[name].blob, AS_STORED) : null);
  const [visible, fused, infrared, labels, confidence, counts] = await Promise.all([
    picture("visible"), picture("fused"), picture("infrared"),
    plane(parts.mask), plane(parts.confidence), plane(parts.counts),
  ]);
  const [height, width] = header.shape;
  const scene = {
    width, height, visible, fused, infrared: infrared && levels(infrared, width, height), labels,
    confidence, counts, approximate: true, report: header.report,
    zones: header.state.zones, view: { height: header.view[0], width: header.view[1] },
  };
  return { header, scene };
}

async function plane(part) {
  if (!part) return null;
  const bytes = part.encoding === "deflate" ? await inflate(part.blob) : new Uint8Array(await part.blob.arrayBuffer());
  return new ARRAYS[part.type](bytes.buffer);
}

function levels(bitmap, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let at = 0; at < grey.length; at++) grey[at] = data[4 * at];
  return grey;
}
