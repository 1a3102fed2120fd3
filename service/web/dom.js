// Short names for what every module does to the document.

export const byId = (id) => document.getElementById(id);

export function element(kind, text = "", className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = className;
  return made;
}

// Text that is the same is not written again: a screen reader would read it again.
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// The rows of a description list, from [term, text]; those without a text are left out.
export function describe(list, rows) {
  list.replaceChildren(...rows
    .filter(([, text]) => text !== null && text !== undefined && text !== "")
    .flatMap(([term, text]) => [element("dt", term), element("dd", String(text))]));
}

export function offer(link, blob) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.hidden = false;
}

export function words(name) {
  return name.replaceAll("_", " ");
}
