// One tab for pairs and one for each rig (WAI-ARIA: tabs that are chosen as they get the focus).

import { byId, element } from "./dom.js";
import { rigs } from "./live.js";

const HASH = "#live/";
const [FIRST_PAUSE, LONGEST_PAUSE] = [1000, 8000]; // ms

// The rig that the address names; the page comes back to it when it is loaded again.
export function wantedRig() {
  return location.hash.startsWith(HASH) ? decodeURIComponent(location.hash.slice(HASH.length)) : null;
}

// Rigs are opened while the service already answers, so the page asks some times.
// `chosen(name)` is called with null for pairs, `say(text)` with what is wrong.
export async function startTabs(chosen, say, pause = FIRST_PAUSE) {
  const names = await rigs().then((found) => found.map(({ name }) => name), ({ message }) => say(`${message}.`)) ?? [];
  const wanted = wantedRig();
  const missing = wanted !== null && !names.includes(wanted);
  if (missing) say(`There is no rig ${wanted} yet; there are ${names.join(", ") || "none"}.`);
  if (names.length) showTabs(names, chosen);
  else if (pause < LONGEST_PAUSE || missing) {
    setTimeout(() => startTabs(chosen, say, Math.min(2 * pause, LONGEST_PAUSE)), pause);
  }
}

function showTabs(names, chosen) {
  const tabs = [null, ...names].map((name) => {
    const live = names.length === 1 ? "Live" : `Live: ${name}`;
    const tab = element("button", name === null ? "Pair" : live);
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", name === null ? "pair" : "live");
    tab.onclick = () => choose(tab);
    tab.onkeydown = ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const next = step && tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      next?.focus();
      if (next) choose(next);
    };
    return tab;
  });
  const choose = (tab) => {
    const name = tab === tabs[0] ? null : names[tabs.indexOf(tab) - 1];
    mark(tab);
    history.replaceState(null, "", name === null ? location.pathname + location.search : HASH + encodeURIComponent(name));
    chosen(name);
  };
  const mark = (tab) => {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
    }
    byId("pair").hidden = tab !== tabs[0];
    byId("live").hidden = tab === tabs[0];
  };
  byId("tabs").replaceChildren(...tabs);
  byId("tabs").hidden = false;
  mark(tabs[0]);
  const wanted = names.indexOf(wantedRig());
  if (wanted >= 0) choose(tabs[wanted + 1]);
}
