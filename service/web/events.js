// The newest events of a rig, and who is informed of them.

import { byId, words } from "./dom.js";
import { rows } from "./live.js";

export function presentEvents({ events = [], notify = [] }) {
  const ends = new Set(events.filter(({ phase }) => phase === "end").map(({ id }) => id));
  const seen = new Map(events.map((event) => [event.id, event])); // of start and end the newer
  const listed = [...seen.values()].reverse();
  rows("live-events", listed.map((event) => ({
    bad: !ends.has(event.id), note: null,
    cells: [event.name, event.zone ?? words(event.fault ?? "view"), what(event), time(event.sent_ns), ends.has(event.id) ? "over" : "now"],
  })));
  byId("live-events").hidden = listed.length === 0;
  rows("live-notify", notify.map(({ name, sent, waiting, dropped, error }) => (
    { bad: Boolean(error || dropped), note: error, cells: [name, sent, waiting, dropped] })));
  byId("live-notify").hidden = notify.length === 0;
}

function what({ classes, celsius }) {
  if (celsius !== null) return `${celsius.toFixed(1)} °C`;
  return words(classes.join(", "));
}

function time(nanoseconds) {
  return new Date(nanoseconds / 1e6).toLocaleTimeString();
}
