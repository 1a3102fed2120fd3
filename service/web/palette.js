// Palettes of thermal pictures: 256 opaque colours each, as RGBA words of an ImageData.

const STOPS = {
  "White hot": [[0, 0, 0], [255, 255, 255]],
  "Black hot": [[255, 255, 255], [0, 0, 0]],
  "Iron": [[0, 0, 10], [54, 0, 120], [150, 0, 150], [215, 50, 80], [245, 130, 10], [255, 205, 40], [255, 255, 235]],
  "Rainbow": [[20, 0, 90], [0, 60, 220], [0, 180, 200], [40, 190, 60], [235, 225, 30], [245, 120, 10], [205, 10, 20]],
};

export const PALETTES = Object.keys(STOPS);

export function table(name) {
  return Uint32Array.from({ length: 256 }, (_, level) => word(...at(STOPS[name], level / 255)));
}

export function gradient(name) {
  return `linear-gradient(90deg, ${STOPS[name].map((colour) => `rgb(${colour})`).join(", ")})`;
}

export function word(red, green, blue, alpha = 255) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function at(stops, share) {
  const place = share * (stops.length - 1);
  const from = Math.min(Math.floor(place), stops.length - 2);
  return stops[from].map((value, channel) =>
    Math.round(value + (place - from) * (stops[from + 1][channel] - value)));
}
