// The cameras of the service: their state, and the newest result of one of them as it comes.

import { byId, describe, element, words, write } from "./dom.js";
import { open, protocols, read } from "./door.js";
import { sceneOfMessage } from "./scene.js";

const [FIRST_PAUSE, LONGEST_PAUSE] = [500, 8000]; // ms before the next try
const ENDED = 1000; // of a closed socket: the recordings have ended
const POLL = 2000; // ms; a camera that is lost sends no results

// The state of every rig; none if the service runs no cameras.
export async function rigs() {
  const answer = await open("live");
  if (answer.status === 404) return [];
  const told = await read(answer);
  if (!answer.ok) throw new Error(told.detail);
  return told.rigs;
}

export class Live {
  #rig;
  #said;
  #socket = null;
  #pause = FIRST_PAUSE;
  #timers = [];
  #ended = false;
  #asked = []; // parts
  #shown = -1; // number of the newest result that was shown

  // `said`: {result(header, scene), state(rig's state), lost(text), wanted() gives names of parts}
  constructor(rig, said) {
    this.#rig = rig;
    this.#said = said;
    this.#timers.push(setInterval(() => this.#poll().catch(() => {}), POLL));
    this.#connect();
  }

  close() {
    this.#ended = true;
    this.#timers.forEach(clearTimeout);
    this.#socket?.close();
  }

  // Ask at once if more is wanted than before.
  ask() {
    const open = this.#socket?.readyState === WebSocket.OPEN;
    if (open && this.#said.wanted().some((name) => !this.#asked.includes(name))) this.#next(this.#socket);
  }

  #next(socket) {
    this.#asked = this.#said.wanted();
    socket.send(["next", ...this.#asked].join(" "));
  }

  async #poll() {
    const state = (await rigs()).find(({ name }) => name === this.#rig);
    if (this.#ended) return;
    if (!state) throw new Error(`The service no longer has the rig ${this.#rig}`);
    this.#said.state(state);
  }

  async #connect() {
    try {
      await this.#poll(); // asks for the token if need be, which a socket cannot
    } catch (error) {
      this.#lost(error.message);
      return;
    }
    if (this.#ended) return;
    const address = new URL(`live/${encodeURIComponent(this.#rig)}`, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, protocols());
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { this.#shown = -1; this.#next(socket); };
    socket.onmessage = ({ data }) => this.#take(socket, data);
    socket.onclose = ({ code, reason }) => {
      if (code === ENDED) this.#finish(reason);
      else this.#lost(reason || "The connection to the service is lost");
    };
  }

  async #take(socket, data) {
    try {
      const { header, scene } = await sceneOfMessage(data);
      if (socket.readyState !== WebSocket.OPEN) return; // lost, or ended, meanwhile
      this.#pause = FIRST_PAUSE;
      if (header.sequence < this.#shown) return; // a newer one was read sooner
      this.#shown = header.sequence;
      this.#said.result(header, scene);
      // Not while the page is hidden: a browser then draws no frames.
      requestAnimationFrame(() => socket.readyState === WebSocket.OPEN && this.#next(socket));
    } catch (error) {
      socket.close(4000, `A result cannot be read: ${error.message}`.slice(0, 100));
    }
  }

  // Nothing more comes: the last picture stays.
  #finish(text) {
    if (this.#ended) return;
    this.close();
    this.#said.lost(text);
  }

  #lost(text) {
    if (this.#ended) return;
    this.#said.lost(`${text}; the next try is in ${this.#pause / 1000} s`);
    this.#timers.push(setTimeout(() => this.#connect(), this.#pause));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }
}

export function presentState({ rate, latency_ms: latency, skew_ms: skew, dropped, ...state }) {
  describe(byId("live-numbers"), [
    ["pairs/s", number(rate)], ["ms latency", number(latency)], ["ms skew", number(skew)], ["dropped", dropped],
  ]);
  describe(byId("live-facts"), [
    ["Level", state.level],
    ["Pairs", Object.entries(state.pairs).filter(([, count]) => count).map(([outcome, count]) => `${count} ${words(outcome)}`).join(", ")],
    ["Alone", state.lone && `${state.lone}: the other camera gives nothing new`],
    ["Faults", words(state.flags.join(", ")) || "none"],
    ["Error", state.error],
  ]);
  rows("live-sources", Object.entries(state.sources).map(([name, source]) => ({
    bad: source.state === "lost", note: source.error || source.address,
    cells: [name, source.state, number(source.rate), source.unpaired, source.damaged, source.reconnects],
  })));
  rows("live-sinks", state.sinks.map(({ name, dropped: lostResults, error }) => (
    { bad: Boolean(error), note: error, cells: [name, lostResults] })));
  byId("live-sinks").hidden = state.sinks.length === 0;
}

// `note`: a line of its own below the cells.
export function rows(id, entries) {
  byId(id).tBodies[0].replaceChildren(...entries.flatMap(({ bad, note, cells }) => {
    const row = element("tr");
    row.append(...cells.map((text, place) => element(place ? "td" : "th", String(text))));
    row.firstChild.scope = "row";
    const below = element("tr", "", "note");
    const cell = element("td", note ?? "");
    cell.colSpan = cells.length;
    below.append(cell);
    if (bad) for (const each of [row, below]) each.classList.add("bad");
    return note ? [row, below] : [row];
  }));
}

export function lost(text) {
  byId("live-lost").hidden = !text;
  byId("stage").classList.toggle("stale", Boolean(text));
  write(byId("live-lost"), text);
}

function number(value) {
  return value === null || value === undefined ? "–" : value.toFixed(1);
}
