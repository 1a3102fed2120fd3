// fetch with the operator's token where the service wants one; it is asked for once a session.
// What a proxy answers in the service's place is named as that.

const KEPT = "segmif-token";
let asking = null; // the question that is on the screen, which all who were refused share

export async function open(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
    const answer = await fetch(path, { ...options, headers }).catch(() => {
      throw new Error("The service does not answer");
    });
    if (answer.status !== 401) return answer;
    // Another may have been given a better one meanwhile.
    if (token === sessionStorage.getItem(KEPT)) await (asking ??= ask(token !== null));
  }
}

// A socket of a browser has no headers of its own: the token travels as one of the protocols offered.
export function protocols() {
  const token = sessionStorage.getItem(KEPT);
  if (!token) return [];
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  const text = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ["segmif", `segmif.token.${text}`];
}

export function hasToken() {
  return sessionStorage.getItem(KEPT) !== null;
}

// The JSON of an answer, a problem's too.
export async function read(answer) {
  const type = typeOf(answer);
  if (type !== "application/json" && type !== "application/problem+json") throw foreign(answer);
  return answer.json().catch(() => { throw foreign(answer); });
}

export function typeOf(answer) {
  return (answer.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
}

export function foreign(answer) {
  const status = [answer.status, answer.statusText].filter(Boolean).join(" ");
  const hint = answer.status === 413 ? "; it may take no bodies of this size" : "";
  return new Error(
    `The answer has the status ${status} and is ${typeOf(answer) || "of no type"}: it is not the service's, `
    + `perhaps that of a proxy before it${hint}`,
  );
}

async function ask(again) {
  const dialog = document.createElement("dialog");
  const form = Object.assign(document.createElement("form"), { method: "dialog" });
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), {
    type: "password", required: true, autocomplete: "off",
  });
  label.append(again ? "This token is not the operator's:" : "The operator's token:", input);
  form.append(label, Object.assign(document.createElement("button"), { textContent: "Enter" }));
  dialog.append(form);
  dialog.oncancel = (event) => event.preventDefault(); // nothing works without it
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((done) => { dialog.onclose = done; });
  sessionStorage.setItem(KEPT, input.value.trim());
  dialog.remove();
  asking = null;
}
