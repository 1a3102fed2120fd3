// Where the picture lies on the stage: `scale` stage pixels a picture pixel, its corner at (x, y).

const CLOSEST = 64; // stage pixels a picture pixel
const KEPT = 24; // stage pixels around a point that is brought into view

export class Viewport {
  width = 1; // of the picture
  height = 1;
  stage = { width: 1, height: 1 };
  scale = 1;
  x = 0;
  y = 0;
  fitted = true; // stays so while the stage changes its size

  setPicture(width, height) {
    if (this.width === width && this.height === height) return;
    Object.assign(this, { width, height });
    this.fit();
  }

  setStage(width, height) {
    this.stage = { width, height };
    if (this.fitted) this.fit();
    else this.#clamp();
  }

  get fitScale() {
    return Math.min(this.stage.width / this.width, this.stage.height / this.height);
  }

  fit() {
    this.scale = this.fitScale;
    this.fitted = true;
    this.#clamp();
  }

  // The picture's point under the stage's point `about` stays there.
  zoom(factor, about = { x: this.stage.width / 2, y: this.stage.height / 2 }) {
    const scale = Math.min(Math.max(this.scale * factor, this.fitScale), Math.max(CLOSEST, this.fitScale));
    this.x = about.x - (about.x - this.x) * scale / this.scale;
    this.y = about.y - (about.y - this.y) * scale / this.scale;
    this.scale = scale;
    this.fitted = scale === this.fitScale;
    this.#clamp();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#clamp();
  }

  // The picture's pixel at a point of the stage; null beside the picture.
  pixel(point) {
    const x = Math.floor((point.x - this.x) / this.scale);
    const y = Math.floor((point.y - this.y) / this.scale);
    return x >= 0 && y >= 0 && x < this.width && y < this.height ? { x, y } : null;
  }

  middle({ x, y }) {
    return { x: this.x + (x + 0.5) * this.scale, y: this.y + (y + 0.5) * this.scale };
  }

  reveal(pixel) {
    const { x, y } = this.middle(pixel);
    const { width, height } = this.stage;
    this.pan(
      Math.max(KEPT - x, 0) + Math.min(width - KEPT - x, 0),
      Math.max(KEPT - y, 0) + Math.min(height - KEPT - y, 0),
    );
  }

  // No stage stays empty while there is picture to fill it; a smaller picture is centred.
  #clamp() {
    this.x = within(this.x, this.stage.width - this.width * this.scale);
    this.y = within(this.y, this.stage.height - this.height * this.scale);
  }
}

function within(offset, free) {
  return free >= 0 ? free / 2 : Math.min(0, Math.max(free, offset));
}
