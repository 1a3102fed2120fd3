// Two pictures of one view with a wipe between them, zoomed and moved in step.

import { Viewport } from "./viewport.js";

const STEP = 1.25; // of the zoom, by key or button
const PIXELATED = 2; // stage pixels a picture pixel, from which on pixels are shown as squares
const MOVED = 4; // stage pixels: less is a click
const FAR = 10; // pixels or percent that a key moves with Shift

export class Viewer {
  #canvas;
  #wipe;
  #said;
  #port = new Viewport();
  #sides = [[], []];
  #share = 0.5; // of the stage that is left of the wipe
  #cross = null; // pixel of the crosshair
  #pointers = new Map();
  #waiting = false;
  #marks = null;

  // `said`: {point(pixel or null, byKey), zoom(percent), press(pixel)}
  constructor(canvas, wipe, said) {
    this.#canvas = canvas;
    this.#wipe = wipe;
    this.#said = said;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.onpointerdown = (event) => this.#press(event);
    canvas.onpointermove = (event) => this.#move(event);
    canvas.onpointerup = canvas.onpointercancel = (event) => this.#release(event);
    canvas.onpointerleave = () => this.#said.point(this.#cross, false);
    for (const over of [canvas, wipe]) {
      over.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    }
    canvas.onkeydown = (event) => this.#key(event);
    wipe.onpointerdown = (event) => wipe.setPointerCapture(event.pointerId);
    wipe.onpointermove = (event) => this.#dragWipe(event);
    wipe.onkeydown = (event) => this.#wipeKey(event);
    this.#resize();
    this.wipeTo(0.5);
  }

  // `marks(context, scale)` draws over the pictures, in their pixels; none: nothing.
  show(left, right, width, height, marks = null) {
    this.#sides = [left, right];
    this.#marks = marks;
    this.#port.setPicture(width, height);
    if (this.#cross && (this.#cross.x >= width || this.#cross.y >= height)) this.#cross = null;
    this.#changed();
  }

  get cross() {
    return this.#cross;
  }

  zoom(steps, about) {
    this.#port.zoom(STEP ** steps, about);
    this.#changed();
  }

  fit() {
    this.#port.fit();
    this.#changed();
  }

  wipeTo(share) {
    this.#share = Math.min(1, Math.max(0, share));
    const percent = Math.round(100 * this.#share);
    this.#wipe.style.left = `${100 * this.#share}%`;
    this.#wipe.setAttribute("aria-valuenow", percent);
    this.#wipe.setAttribute("aria-valuetext", `${percent} % of the stage shows the left picture`);
    this.#changed();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    this.#port.setStage(width, height);
    this.#changed();
  }

  #changed() {
    // At fit a finger scrolls the page; within a picture it moves that.
    this.#canvas.style.touchAction = this.#port.fitted ? "pan-y" : "none";
    this.#said.zoom(Math.round(100 * this.#port.scale));
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => { this.#waiting = false; this.#draw(); });
  }

  #draw() {
    const context = this.#canvas.getContext("2d");
    const { width, height } = this.#canvas;
    const edge = Math.round(this.#share * width);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#drawSide(context, this.#sides[0], 0, edge);
    this.#drawSide(context, this.#sides[1], edge, width - edge);
    if (this.#marks) this.#drawMarks(context);
    if (this.#cross) this.#drawCross(context, this.#port.middle(this.#cross));
  }

  #drawSide(context, pictures, from, width) {
    const { x, y, scale, width: across, height: down } = this.#port;
    context.save();
    context.beginPath();
    context.rect(from, 0, width, this.#canvas.height);
    context.clip();
    context.setTransform(
      scale * devicePixelRatio, 0, 0, scale * devicePixelRatio, x * devicePixelRatio, y * devicePixelRatio,
    );
    context.imageSmoothingEnabled = scale < PIXELATED;
    context.imageSmoothingQuality = "high";
    for (const picture of pictures) context.drawImage(picture, 0, 0, across, down);
    context.restore();
  }

  #drawMarks(context) {
    const { x, y, scale } = this.#port;
    const ratio = devicePixelRatio;
    context.save();
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    this.#marks(context, scale);
    context.restore();
  }

  // Two strokes: one of them stands out from any picture.
  #drawCross(context, { x, y }) {
    const gap = Math.max(6, this.#port.scale / 2 + 2);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    for (const [colour, width] of [["#000c", 3], ["#fff", 1]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * gap, y + dy * gap);
        context.lineTo(x + dx * (gap + 12), y + dy * (gap + 12));
      }
      context.stroke();
    }
  }

  #press(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY, way: 0 });
  }

  #move(event) {
    const now = { x: event.offsetX, y: event.offsetY };
    const before = this.#pointers.get(event.pointerId);
    if (before) this.#drag(event, now, before);
    this.#said.point(this.#port.pixel(now), false);
  }

  #drag(event, now, before) {
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) this.#port.zoom(distance(now, other) / Math.max(1, distance(before, other)), between(now, other));
    const slowed = other ? 2 : 1; // of two fingers each moves the picture half
    this.#port.pan((now.x - before.x) / slowed, (now.y - before.y) / slowed);
    const way = before.way + distance(now, before) + (other ? MOVED : 0);
    this.#pointers.set(event.pointerId, { ...now, way });
    this.#changed();
  }

  #release(event) {
    const at = this.#pointers.get(event.pointerId);
    this.#pointers.delete(event.pointerId);
    if (at && at.way < MOVED && event.type === "pointerup") this.#chose(this.#port.pixel(at));
  }

  #chose(pixel) {
    this.#point(pixel, false);
    if (pixel) this.#said.press(pixel);
  }

  #point(pixel, byKey) {
    this.#cross = pixel;
    this.#said.point(pixel, byKey);
    this.#changed();
  }

  #wheel(event) {
    event.preventDefault();
    const steps = Math.max(-3, Math.min(3, -event.deltaY / (event.deltaMode ? 3 : 100)));
    const { left, top } = this.#canvas.getBoundingClientRect(); // the wipe may be under the pointer
    this.zoom(steps, { x: event.clientX - left, y: event.clientY - top });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const about = this.#cross ? this.#port.middle(this.#cross) : undefined;
    const action = {
      "+": () => this.zoom(1, about), "=": () => this.zoom(1, about), "-": () => this.zoom(-1, about),
      "0": () => this.fit(), Enter: () => this.#cross && this.#said.press(this.#cross), Escape: () => this.#point(null, true),
      ArrowLeft: () => this.#step(event, -1, 0), ArrowRight: () => this.#step(event, 1, 0),
      ArrowUp: () => this.#step(event, 0, -1), ArrowDown: () => this.#step(event, 0, 1),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #step(event, dx, dy) {
    const { width, height } = this.#port;
    const from = this.#cross ?? { x: Math.floor(width / 3), y: Math.floor(height / 2) }; // beside the wipe
    const reach = event.shiftKey ? FAR : 1;
    const pixel = {
      x: Math.min(width - 1, Math.max(0, from.x + dx * reach)),
      y: Math.min(height - 1, Math.max(0, from.y + dy * reach)),
    };
    this.#port.reveal(pixel);
    this.#point(pixel, true);
  }

  #dragWipe(event) {
    if (!this.#wipe.hasPointerCapture(event.pointerId)) return;
    const { left, width } = this.#canvas.getBoundingClientRect();
    this.wipeTo((event.clientX - left) / width);
  }

  #wipeKey(event) {
    const step = (event.shiftKey ? FAR : 1) / 100;
    const share = {
      ArrowLeft: this.#share - step, ArrowDown: this.#share - step, Home: 0, PageDown: this.#share - FAR / 100,
      ArrowRight: this.#share + step, ArrowUp: this.#share + step, End: 1, PageUp: this.#share + FAR / 100,
    }[event.key];
    if (share === undefined) return;
    event.preventDefault();
    this.wipeTo(share);
  }
}

function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function between(one, other) {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}
