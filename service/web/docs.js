// The OpenAPI document as a page, without scripts from elsewhere.

import { open, read } from "./door.js";

const METHODS = ["get", "post"];

function element(kind, ...children) {
  const made = document.createElement(kind);
  made.append(...children);
  return made;
}

function table(title, rows) {
  if (!rows.length) return "";
  const body = rows.map(([name, text, note]) => element(
    "tr",
    element("td", element("code", name)),
    element("td", text ?? "", note ? element("small", note) : ""),
  ));
  return element("table", element("caption", title), ...body);
}

function resolve(api, schema) {
  const path = schema?.$ref?.slice(2).split("/");
  return path ? path.reduce((node, key) => node[key], api) : schema ?? {};
}

function fields(api, schema) {
  const { properties = {}, required = [] } = resolve(api, schema);
  return Object.entries(properties).map(([name, field]) => [
    name, field.description ?? field.title, required.includes(name) ? "required" : "",
  ]);
}

function choices(schema) {
  const options = (schema.anyOf ?? [schema.items ?? schema]).flatMap((option) => option.enum ?? []);
  return options.length ? `one of ${options.join(", ")}` : "";
}

function operation(api, path, method, described) {
  const parameters = (described.parameters ?? []).map((parameter) => [
    parameter.name, parameter.description, choices(parameter.schema),
  ]);
  const parts = Object.values(described.requestBody?.content ?? {}).flatMap(({ schema }) => fields(api, schema));
  const answers = Object.entries(described.responses).map(([status, { description, content = {} }]) => [
    status, description, Object.keys(content).join(", "),
  ]);
  const json = described.responses["200"]?.content?.["application/json"]?.schema;
  const head = element("summary", element("b", method.toUpperCase()), element("code", path), element("span", described.description ?? described.summary));
  const made = element(
    "details", head, table("Form parts", parts), table("Parameters", parameters),
    table("Fields of the answer", fields(api, json?.items ?? json)), table("Answers", answers),
  );
  made.open = method === "post";
  return made;
}

const api = await open("openapi.json").then(read).catch((error) => {
  document.getElementById("about").textContent = `${error.message}.`;
  throw error;
});
const service = new URL("fuse-segment", location.href);
document.getElementById("about").textContent = api.info.description;
document.getElementById("example").textContent = [
  "# fused image, mask and report, as the parts of one answer",
  `curl -F visible=@visible.png -F infrared=@infrared.png ${service} -o answer.multipart`,
  "# one picture: fused, mask, overlay, confidence, visible, infrared or counts",
  `curl -F visible=@visible.png -F infrared=@infrared.png '${service}?return=overlay' -o overlay.png`,
].join("\n");
document.getElementById("operations").append(
  ...Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => operation(api, path, method, item[method]))),
);
