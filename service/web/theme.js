// Light or dark: as the system has it, or as the switch says.

import { byId } from "./dom.js";

const KEPT = "segmif-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

export function startTheme() {
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    byId("theme-name").textContent = theme;
    localStorage.setItem(KEPT, theme);
  };
  const kept = localStorage.getItem(KEPT);
  set(kept in NEXT ? kept : "auto");
  byId("theme").onclick = () => set(NEXT[document.documentElement.dataset.theme]);
}
