// The page: two files go to /fuse-segment, the parts of the answer become pictures, legend and times.

import { foreign, open, read, typeOf } from "./door.js";

const PARTS = ["visible", "infrared"];
const STAGE_COLOURS = {
  receive: "#8d98a5", decode: "#6f9bd1", align: "#67b7a4", queue: "#5b6470", infer: "#f2a33c", encode: "#a58bd0",
};

const tile = (part) => document.querySelector(`[data-part="${part}"]`);
const byId = (id) => document.getElementById(id);
const files = { visible: null, infrared: null };
let latest = 0; // number of the newest request: an answer that was overtaken is not shown

function show(part, blob) {
  const image = tile(part).querySelector("img");
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  image.alt = part;
  image.hidden = false;
  const save = tile(part).querySelector("a");
  if (save) offer(save, blob);
}

function clear(part, hint) {
  tile(part).querySelector("img").hidden = true;
  if (hint) tile(part).querySelector(".hint").textContent = hint;
}

function offer(link, blob) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.hidden = false;
}

function take(part, file) {
  files[part] = file;
  tile(part).querySelector(".caption i").textContent = file.name;
  tile(part).querySelector("img").onerror = () =>
    clear(part, "A browser cannot show this kind of file; it is sent as it is.");
  show(part, file);
  byId("swap").disabled = !(files.visible && files.infrared);
}

function unpress() {
  for (const button of byId("samples").children) button.setAttribute("aria-pressed", "false");
}

function say(text, part) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
  for (const name of PARTS) tile(name).classList.toggle("wrong", name === part);
}

async function fuse() {
  if (!files.visible || !files.infrared) return;
  const mine = ++latest;
  say("");
  document.body.classList.add("busy");
  try {
    const parts = await ask(files.visible, files.infrared);
    if (mine === latest) await present(parts);
  } catch (error) {
    if (mine === latest) refuse(error);
  } finally {
    if (mine === latest) document.body.classList.remove("busy");
  }
}

async function ask(visible, infrared) {
  const form = new FormData();
  form.append("visible", visible);
  form.append("infrared", infrared);
  const answer = await open("fuse-segment?return=fused,mask,overlay", {
    method: "POST", body: form, headers: { Accept: "multipart/mixed" },
  });
  if (answer.ok) {
    if (typeOf(answer) !== "multipart/mixed") throw foreign(answer);
    return split(await answer.arrayBuffer(), answer.headers.get("Content-Type"));
  }
  const problem = await read(answer);
  throw Object.assign(new Error(problem.detail), { part: problem.part });
}

function refuse(error) {
  for (const part of ["fused", "overlay"]) clear(part);
  for (const link of document.querySelectorAll("a[download]")) link.hidden = true;
  for (const row of byId("legend").children) {
    row.classList.remove("found");
    row.querySelector(".share").textContent = "";
  }
  byId("timing").hidden = true;
  const named = !error.part || error.message.includes(error.part);
  const text = named ? `${error.message}.` : `${error.part}: ${error.message}.`;
  say(text.charAt(0).toUpperCase() + text.slice(1), error.part);
}

// multipart/mixed to {name: Blob}; every part states its Content-Length.
function split(buffer, contentType) {
  const opening = `--${contentType.match(/boundary=(\S+)/)[1]}\r\n`;
  const text = new TextDecoder("latin1").decode(buffer);
  const parts = {};
  for (let at = 0; text.startsWith(opening, at);) {
    const end = text.indexOf("\r\n\r\n", at) + 4;
    const head = text.slice(at, end);
    const length = Number(head.match(/Content-Length: (\d+)/)[1]);
    const name = head.match(/name="(\w+)"/)[1];
    const type = head.match(/Content-Type: (\S+)/)[1];
    parts[name] = new Blob([buffer.slice(end, end + length)], { type });
    at = end + length + 2;
  }
  return parts;
}

async function present({ fused, overlay, mask, report }) {
  show("fused", fused);
  show("overlay", overlay);
  offer(byId("mask"), mask);
  offer(byId("report"), report);
  const told = JSON.parse(await report.text());
  for (const { id, share } of told.classes) {
    const row = byId("legend").children[id];
    row.classList.toggle("found", share > 0);
    row.querySelector(".share").textContent = share > 0 ? percent(share) : "–";
  }
  const faults = byId("faults");
  faults.hidden = told.pair.flags.length === 0;
  faults.textContent = `Faults of this pair: ${told.pair.flags.join(", ").replaceAll("_", " ")}.`;
  const { width, height } = told.infrared;
  const notes = [`${told.visible.width} × ${told.visible.height}`];
  if (told.alignment === "resized") notes.push(`infrared resized from ${width} × ${height}`);
  if (told.gain) notes.push(`${told.gain.low} to ${told.gain.high} counts shown`);
  notes.push(`${told.variant} ${told.precision}`, told.engine);
  byId("engine").textContent = notes.join(" · ");
  presentTimes(told.times_ms);
}

function percent(share) {
  return share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}

function presentTimes(times) {
  const stages = Object.entries(times).filter(([, ms]) => ms >= 0.05);
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  byId("timing").hidden = false;
  byId("total").textContent = `${total.toFixed(0)} ms`;
  byId("bar").replaceChildren(...stages.map(([stage, ms]) => {
    const piece = document.createElement("span");
    piece.style.flex = `${ms} 0 0`;
    piece.style.background = STAGE_COLOURS[stage];
    return piece;
  }));
  byId("stages").replaceChildren(...stages.flatMap(([stage, ms]) => {
    const mark = document.createElement("i");
    mark.style.background = STAGE_COLOURS[stage];
    return [mark, element("dt", stage), element("dd", `${ms.toFixed(1)} ms`)];
  }));
}

function element(kind, text, className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = className;
  return made;
}

// What a path lists; a refusal is an error in the service's words.
async function listed(path) {
  const answer = await open(path);
  const told = await read(answer);
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

async function listClasses() {
  const { classes } = await listed("classes");
  byId("legend").replaceChildren(...classes.map(({ name, overlay_color: colour }) => {
    const row = document.createElement("li");
    const swatch = element("span", "", "swatch");
    swatch.style.background = `rgb(${colour})`;
    row.append(swatch, element("span", name.replaceAll("_", " ")), element("span", "", "share"));
    return row;
  }));
}

async function listSamples() {
  const samples = await listed("samples");
  byId("samples").replaceChildren(...samples.map((sample) => {
    const button = document.createElement("button");
    const image = document.createElement("img");
    image.src = sample.visible;
    image.alt = "";
    button.type = "button";
    button.append(image, element("span", sample.name));
    button.onclick = () => useSample(sample, button).catch(refuse);
    return button;
  }));
  const wanted = new URLSearchParams(location.search).get("sample");
  const place = samples.findIndex(({ name }) => name === wanted);
  if (place >= 0) {
    await useSample(samples[place], byId("samples").children[place]);
  } else if (wanted !== null) {
    say(`There is no sample ${wanted}; there are ${samples.map(({ name }) => name).join(", ")}.`);
  }
}

async function useSample(sample, button) {
  const blobs = await Promise.all(PARTS.map(async (part) => {
    const answer = await open(sample[part]);
    if (!answer.ok || typeOf(answer) !== "image/png") throw foreign(answer);
    return answer.blob();
  }));
  PARTS.forEach((part, place) => take(part, new File([blobs[place]], `${sample.name}.png`)));
  unpress();
  button.setAttribute("aria-pressed", "true");
  await fuse();
}

function dropped(target, list) {
  const given = [...list];
  unpress();
  if (given.length < 2) {
    take(target, given[0]);
  } else {
    // Two files at once: the one that calls itself thermal is, else the second.
    const infrared = /infrared|thermal|lwir|(^|[^a-z])ir([^a-z]|$)/i.test(given[0].name) ? 0 : 1;
    take("infrared", given[infrared]);
    take("visible", given[1 - infrared]);
  }
  fuse();
}

for (const part of PARTS) {
  const zone = tile(part);
  zone.querySelector("input").onchange = (event) => {
    if (event.target.files.length) dropped(part, event.target.files);
    event.target.value = ""; // the same file may be picked again
  };
  zone.ondragover = (event) => { event.preventDefault(); zone.classList.add("over"); };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) dropped(part, event.dataTransfer.files);
  };
}

// A file that misses the zones must not replace the page.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => event.preventDefault());

byId("swap").onclick = () => {
  const { visible, infrared } = files;
  take("visible", infrared);
  take("infrared", visible);
  unpress();
  fuse();
};

listClasses().then(listSamples).catch((error) => say(`${error.message}.`));
