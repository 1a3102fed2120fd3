// What a report says of a result: its faults, its facts and its times.

import { byId, describe, element, words, write } from "./dom.js";

const STAGES = ["receive", "decode", "align", "queue", "infer", "encode", "steady", "objects", "unknown"];

export function present(report) {
  const faults = report.pair.flags;
  byId("faults").hidden = faults.length === 0;
  write(byId("faults"), faults.length ? `Faults of this pair: ${words(faults.join(", "))}.` : "");
  describe(byId("facts"), facts(report));
  byId("result").hidden = false;
  presentTimes(report.times_ms);
}

export function clear() {
  byId("faults").hidden = true;
  byId("result").hidden = true;
}

function facts(report) {
  const { rig, refinement, gain } = report;
  return [
    ["Network", `${report.variant}, ${report.precision}`],
    ["Device", device(report.engine)],
    ["Engine", report.engine.replace(/ \w+ExecutionProvider/, "")],
    ["Visible", size(report.visible) + (report.visible_grey ? ", grey" : "")],
    ["Infrared", `${size(report.infrared)}${{ resized: ", resized", rig: ", by the rig", none: "" }[report.alignment]}`],
    ["Gain", gain && `${number(gain.low)} to ${number(gain.high)} counts, ${gain.method}`],
    ["Plane", rig && (rig.depth_m === null ? "infinity, or the homography's" : `${number(rig.depth_m)} m`)],
    ["Rig", rig && moved(rig)],
    ["Refined", refinement && `${refinement.residual_px} px, ${refinement.applied ? "applied" : "not sure enough"}`],
    ["Registration", report.registration && registered(report.registration)],
    ["Hue", report.tint !== null && number(report.tint)],
    ["Memory", report.memory ? remembered(report.memory) : "off"],
    ["Skew", report.pair.skew_ms !== null && `${number(report.pair.skew_ms)} ms, ${report.pair.skew} the limit`],
  ].filter(([, text]) => text !== false);
}

function device(engine) {
  const provider = engine.match(/(\w+)ExecutionProvider/)?.[1];
  return provider ?? engine.match(/^tensorrt \S+ (.+)/)?.[1];
}

function remembered({ reset, used }) {
  return reset ? `begins anew: ${words(reset)}` : `on, ${Math.round(100 * used)} % of the picture`;
}

function registered({ shift_px: shift, parallax_px: parallax, confidence, standing, applied }) {
  if (standing === "none") return "searching";
  const [right, down] = shift.map((px) => px.toFixed(1));
  const sure = `${Math.round(100 * confidence)} % sure${standing === "kept" ? ", from earlier pairs" : ""}`;
  return `${right}, ${down} px, depth ${parallax.toFixed(1)} px, ${applied ? "applied" : "too little to correct"}, ${sure}`;
}

function moved({ moved: state, residual_px: residual }) {
  if (state === null) return "not checked yet";
  return `${state ? "moved: calibrate again" : "stands"}, ${number(residual)} px`;
}

function size(frame) {
  return frame ? `${frame.width} × ${frame.height}` : "missing";
}

function number(value) {
  return Number(value.toPrecision(5)).toString();
}

function presentTimes(times) {
  const stages = Object.entries(times).filter(([, ms]) => ms >= 0.05);
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  byId("total").textContent = `${total.toFixed(0)} ms`;
  byId("bar").replaceChildren(...stages.map(([stage, ms]) => {
    const piece = element("span", "", `stage-${STAGES.indexOf(stage)}`);
    piece.style.flex = `${ms} 0 0`;
    return piece;
  }));
  byId("stages").replaceChildren(...stages.flatMap(([stage, ms]) => [
    element("dt", stage, `stage-${STAGES.indexOf(stage)}`), element("dd", `${ms.toFixed(1)} ms`),
  ]));
}
