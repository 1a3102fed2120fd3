// Exact pixels of a PNG of the service. A canvas has 8 bits, and its colour management may change them.

const CHANNELS = { 0: 1, 2: 3, 3: 1 }; // grey, RGB, indexed; by the colour type of the header

export async function decodePng(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const view = new DataView(bytes.buffer);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [depth, channels, interlaced] = [bytes[24], CHANNELS[bytes[25]], bytes[28]];
  if (!channels || interlaced || (depth !== 8 && depth !== 16)) {
    throw new Error(`A PNG of ${depth} bit and colour type ${bytes[25]} came, expected 8 or 16 bit without alpha`);
  }
  const packed = [];
  for (let at = 8; at < bytes.length;) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === "IDAT") packed.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const step = channels * depth / 8;
  const pixels = unfilter(await inflate(new Blob(packed)), height, width * step, step);
  return { width, height, pixels: depth === 16 ? fromBigEndian(pixels) : pixels };
}

export async function inflate(blob) {
  const stream = blob.stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// PNG (ISO 15948), clause 9: every row begins with its filter; `step` bytes are one pixel.
function unfilter(rows, height, rowBytes, step) {
  const out = new Uint8Array(height * rowBytes);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (rowBytes + 1)];
    const source = y * (rowBytes + 1) + 1;
    const target = y * rowBytes;
    for (let x = 0; x < rowBytes; x++) {
      const left = x < step ? 0 : out[target + x - step];
      const up = y === 0 ? 0 : out[target + x - rowBytes];
      const corner = x < step || y === 0 ? 0 : out[target + x - rowBytes - step];
      out[target + x] = rows[source + x] + predict(filter, left, up, corner);
    }
  }
  return out;
}

function predict(filter, left, up, corner) {
  switch (filter) {
    case 0: return 0;
    case 1: return left;
    case 2: return up;
    case 3: return (left + up) >> 1;
    default: return paeth(left, up, corner);
  }
}

function paeth(left, up, corner) {
  const [a, b, c] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

function fromBigEndian(bytes) {
  const numbers = new Uint16Array(bytes.length / 2);
  for (let at = 0; at < numbers.length; at++) numbers[at] = bytes[2 * at] << 8 | bytes[2 * at + 1];
  return numbers;
}
