// One tab for pairs and one for each rig (WAI-ARIA: tabs that are chosen as they get the focus).

import { byId, element } from "./dom.js";

// `names` of the rigs; `chosen(name)` is called with null for pairs.
export function showTabs(names, chosen) {
  const tabs = [null, ...names].map((name) => {
    const tab = element("button", name === null ? "Pair" : `Live: ${name}`);
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", name === null ? "pair" : "live");
    tab.onclick = () => choose(tab);
    tab.onkeydown = ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (step) choose(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length]);
    };
    return tab;
  });
  const choose = (tab) => {
    mark(tab);
    tab.focus();
    chosen(tab === tabs[0] ? null : names[tabs.indexOf(tab) - 1]);
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
}
