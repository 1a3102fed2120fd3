// The page: what the sources give goes to the service, and its answers to viewer, read-out and legend.

import { byId, offer, write } from "./dom.js";
import { hasToken, open, read } from "./door.js";
import { fuse } from "./fuse.js";
import { Inputs, PARTS } from "./inputs.js";
import { Layers, PARTS_OF, VIEWS } from "./layers.js";
import { presentEvents } from "./events.js";
import { Legend } from "./legend.js";
import { Live, lost, presentState } from "./live.js";
import { marksOf } from "./marks.js";
import { Nudge } from "./nudge.js";
import { PALETTES } from "./palette.js";
import { Player } from "./player.js";
import { presentRange } from "./range.js";
import { READ_PARTS, Readout } from "./readout.js";
import * as report from "./report.js";
import { curl, python } from "./request_text.js";
import { sceneOfParts } from "./scene.js";
import { startTabs, wantedRig } from "./tabs.js";
import { startTheme } from "./theme.js";
import { Viewer } from "./viewer.js";
import { ZoneDraft } from "./zone_draft.js";

const layers = new Layers();
const legend = new Legend(recolour);
const readout = new Readout();
const viewer = new Viewer(byId("canvas"), byId("wipe"), {
  point: (pixel, byKey) => { point = pixel; live?.ask(); if (layers.scene) readout.show(layers.scene, legend.classes, pixel, byKey); },
  press: (pixel) => layers.scene && draft.add(pixel, layers.scene),
  zoom: (percent) => write(byId("zoom"), layers.scene ? `${percent} %` : "–"),
});
const draft = new ZoneDraft(() => redraw());
const nudge = new Nudge(showNudge);
const inputs = new Inputs({ changed: restart, wrong: refuse });
const player = new Player(inputs, fusePair, presentPlayer);
const stream = `page-${Math.random().toString(36).slice(2, 10)}`; // of moving sources
let point = null; // the pixel that is read out
let latest = 0; // number of the newest request: an answer that was overtaken is not shown
let live = null;
let tint = null; // that was chosen here; else the service's

function say(text, part) {
  byId("message").hidden = !text;
  write(byId("message"), text);
  inputs.mark(part);
}

// What the page shows of a scene, wherever it comes from.
function show(scene) {
  const before = layers.scene;
  layers.set(scene, byId("palette").value, legend.classes, opacity());
  byId("stage").classList.remove("empty");
  legend.tell(scene.report.classes);
  report.present(scene.report);
  if (point && (point.x >= scene.width || point.y >= scene.height)) point = null;
  redraw();
  for (const picture of ["visible", "fused"]) before?.[picture]?.close(); // live pictures would pile up
}

function redraw() {
  const { scene } = layers;
  const [left, right] = [byId("left-view").value, byId("right-view").value];
  byId("canvas").setAttribute("aria-label", `Picture: left ${VIEWS[left]}, right ${VIEWS[right]}`);
  write(byId("left-name"), VIEWS[left]);
  write(byId("right-name"), VIEWS[right]);
  if (!scene) return;
  const marks = byId("show-marks").checked ? marksOf(scene, legend.classes, draft.zone) : null;
  viewer.show(layers.of(left), layers.of(right), scene.width, scene.height, marks);
  readout.show(scene, legend.classes, point);
  presentRange(scene, byId("palette").value);
}

// What was moved must be seen: if neither side shows infrared, one does from now on.
function showNudge() {
  const { right, down } = layers.nudge = nudge.by;
  const views = [byId("left-view").value, byId("right-view").value];
  if ((right || down) && !views.some((view) => PARTS_OF[view].includes("infrared"))) byId("right-view").value = "blend";
  live?.ask();
  redraw();
}

function recolour() {
  if (!layers.scene) return;
  layers.colourMask(legend.classes, opacity());
  redraw();
}

function opacity() {
  return byId("opacity").valueAsNumber / 100;
}

function query() {
  const asked = {};
  if (byId("refine").checked) asked.refine = true;
  const depth = byId("depth").valueAsNumber;
  if (depth > 0) asked.depth_m = depth;
  if (tint !== null) asked.tint = tint;
  return asked;
}

// A new pair, or another request for it.
function restart() {
  player.position = 0;
  byId("player").hidden = !inputs.moving;
  if (!inputs.complete) return;
  if (inputs.moving) player.start();
  else fusePair();
}

// False if the service refused the pair, or a newer one overtook it.
async function fusePair() {
  const mine = ++latest;
  if (!player.playing) {
    say("");
    document.body.classList.add("busy");
  }
  try {
    const asked = inputs.moving ? { ...query(), stream } : query();
    const parts = await fuse(await inputs.grab(), asked);
    const scene = await sceneOfParts(parts);
    if (mine !== latest) return false;
    say("");
    present(parts, scene);
    return true;
  } catch (error) {
    if (mine !== latest) return false;
    return await retried(error, mine);
  } finally {
    if (mine === latest) document.body.classList.remove("busy");
  }
}

// A service that is busy or starts is asked again when it says so; all else is refused in its words.
async function retried(error, mine) {
  refuse(error);
  if (!(error.retrySeconds > 0)) return false;
  await new Promise((done) => setTimeout(done, 1000 * error.retrySeconds));
  return mine === latest && fusePair();
}

function present(parts, scene) {
  show(scene);
  for (const name of ["fused", "mask", "report"]) offer(byId(`save-${name}`), parts[name]);
  byId("depth-of-plane").hidden = !scene.report.rig?.near_m;
  byId("tint-of-fused").hidden = scene.report.tint === null; // the network's own, which is fixed
  if (tint === null && scene.report.tint !== null) byId("tint").value = scene.report.tint;
  const frames = Object.fromEntries(PARTS.map((part) => [part, inputs.sources[part]]));
  byId("as-text").hidden = inputs.moving;
  write(byId("curl"), curl(document.baseURI, frames, query(), hasToken()));
  write(byId("python"), python(document.baseURI, frames, query(), hasToken()));
}

function refuse(error) {
  const { part, message } = error;
  const text = !part || message.includes(part) ? `${message}.` : `${part}: ${message}.`;
  layers.scene = null;
  byId("stage").classList.add("empty");
  legend.tell(null);
  report.clear();
  say(text.charAt(0).toUpperCase() + text.slice(1), part);
}

function presentPlayer() {
  byId("play").textContent = player.playing ? "Pause" : "Play";
  const end = inputs.seconds < Infinity ? ` of ${inputs.seconds.toFixed(1)}` : "";
  write(byId("clock"), `${player.position.toFixed(1)}${end} s`);
}

async function saveOverlay() {
  const { width, height } = layers.scene;
  const canvas = new OffscreenCanvas(width, height);
  for (const picture of layers.of("overlay")) canvas.getContext("2d").drawImage(picture, 0, 0);
  const link = Object.assign(document.createElement("a"), { download: "overlay.png" });
  offer(link, await canvas.convertToBlob());
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// What a path lists; a refusal is an error in the service's words.
async function listed(path) {
  const answer = await open(path);
  const told = await read(answer);
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

async function startSamples() {
  const samples = await listed("samples");
  byId("samples").replaceChildren(...samples.map((sample) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const image = Object.assign(document.createElement("img"), { src: sample.visible, alt: "" });
    button.dataset.name = sample.name;
    button.setAttribute("aria-pressed", "false");
    button.append(image, sample.name);
    button.onclick = () => inputs.useSample(sample).catch(refuse);
    return button;
  }));
  const wanted = new URLSearchParams(location.search).get("sample");
  if (wantedRig() !== null) return; // cameras come first
  const sample = wanted === null ? samples[0] : samples.find(({ name }) => name === wanted);
  if (sample) await inputs.useSample(sample);
  else if (wanted !== null) say(`There is no sample ${wanted}; there are ${samples.map(({ name }) => name).join(", ")}.`);
}

function chooseTab(rig) {
  live?.close();
  live = null;
  latest++;
  player.stop();
  document.body.classList.remove("busy");
  say("");
  lost("");
  byId("keep").hidden = rig !== null;
  nudge.begin(rig);
  if (rig === null) {
    if (inputs.complete) restart();
    else byId("samples").querySelector("button")?.click();
    return;
  }
  const tell = (state) => { presentState(state); presentEvents(state); nudge.present(state); };
  live = new Live(rig, {
    result: (header, scene) => { lost(""); tell(header.state); show(scene); },
    state: tell,
    lost,
    wanted,
  });
}

// The parts of a live result that are shown, and what is read out while a pixel is pointed at.
function wanted() {
  const shown = ["left-view", "right-view"].flatMap((side) => PARTS_OF[byId(side).value]);
  return [...new Set([...shown, ...(point ? READ_PARTS : [])])];
}

function startControls() {
  for (const side of ["left-view", "right-view"]) {
    byId(side).append(...Object.entries(VIEWS).map(([view, name]) => new Option(name, view)));
    byId(side).onchange = () => { redraw(); live?.ask(); };
  }
  byId("right-view").value = "overlay";
  byId("exchange").onclick = () => {
    const [left, right] = [byId("left-view"), byId("right-view")];
    [left.value, right.value] = [right.value, left.value];
    redraw();
  };
  byId("palette").append(...PALETTES.map((name) => new Option(name, name)));
  byId("palette").onchange = () => {
    if (layers.scene) layers.colourInfrared(byId("palette").value);
    redraw();
  };
  byId("opacity").oninput = recolour;
  byId("show-marks").onchange = redraw;
  byId("zoom-in").onclick = () => viewer.zoom(1);
  byId("zoom-out").onclick = () => viewer.zoom(-1);
  byId("fit").onclick = () => viewer.fit();
  byId("refine").onchange = byId("depth").onchange = restart;
  byId("tint").onchange = () => {
    tint = byId("tint").valueAsNumber;
    if (!inputs.moving) restart(); // a moving source takes it with its next pair
  };
  byId("play").onclick = () => (player.playing ? player.stop() : player.start());
  byId("save-overlay").onclick = saveOverlay;
  for (const button of document.querySelectorAll("[data-copies]")) button.onclick = () => copy(button);
  redraw();
}

async function copy(button) {
  const text = byId(button.dataset.copies);
  getSelection().selectAllChildren(text); // for a page without https, where only the keys can copy
  await navigator.clipboard?.writeText(text.textContent);
  if (navigator.clipboard) write(byId("spoken"), "Copied");
}

startTheme();
startControls();
listed("classes")
  .then((told) => { legend.fill(told); return startSamples(); })
  .catch(refuse)
  .then(() => startTabs(chooseTab, say));
