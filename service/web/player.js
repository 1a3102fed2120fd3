// Steps through moving sources: one pair at a time, each the newest there is.

export class Player {
  #inputs;
  #step;
  #told;
  #run = 0; // number of the newest run: an older one ends
  position = 0; // seconds

  // `step`: fuses and shows a pair, false if it failed; `told`: called at each change
  constructor(inputs, step, told) {
    this.#inputs = inputs;
    this.#step = step;
    this.#told = told;
  }

  playing = false;

  stop() {
    this.#run++;
    this.playing = false;
    this.#told();
  }

  async start() {
    const mine = ++this.#run;
    if (this.position >= this.#inputs.seconds) this.position = 0;
    const began = performance.now() - 1000 * this.position;
    this.playing = true;
    while (mine === this.#run && this.position < this.#inputs.seconds) {
      this.position = Math.min((performance.now() - began) / 1000, this.#inputs.seconds);
      await this.#inputs.at(this.position);
      if (!(await this.#step())) break;
      this.#told();
    }
    if (mine === this.#run) this.stop();
  }
}
