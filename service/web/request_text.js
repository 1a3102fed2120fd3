// The request of the page as text for a shell and for Python. The token is never in it.

const quote = (text) => (/^[\w./:=,?&%@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// `frames`: {visible, infrared}, each {name, address: of a sample, else undefined}; `query`: {name: value}.
export function curl(base, frames, query, hasToken) {
  const given = new URLSearchParams({ return: "fused,mask", ...query });
  const address = `${new URL("fuse-segment", base)}?${given.toString().replaceAll("%2C", ",")}`;
  const lines = Object.entries(frames)
    .filter(([, frame]) => frame.address)
    .map(([, { name, address: from }]) => `curl -o ${quote(name)} ${quote(String(new URL(from, base)))}`);
  const form = Object.entries(frames).map(([part, { name }]) => `-F ${quote(`${part}=@${name}`)}`).join(" ");
  const token = hasToken ? "     -H \"Authorization: Bearer $SEGMIF_TOKEN\" \\\n" : "";
  lines.push(`curl ${form} \\\n${token}     ${quote(address)} -o answer.multipart`);
  return lines.join("\n");
}

export function python(base, frames, query, hasToken) {
  const options = Object.entries(query).map(([name, value]) => `, ${name}=${literal(value)}`).join("");
  const url = JSON.stringify(String(new URL(".", base)).replace(/\/$/, ""));
  const token = hasToken ? ", token=os.environ[\"SEGMIF_TOKEN\"]" : "";
  const [visible, infrared] = [frames.visible, frames.infrared].map(({ name }) => JSON.stringify(name));
  return [
    ...(hasToken ? ["import os", ""] : []),
    "from segmif.client import Client",
    "",
    `with Client(${url}${token}) as service:`,
    `    answer = service.fuse(${visible}, ${infrared}${options})`,
    "print(answer.fused.shape, answer.labels.max(), answer.report[\"classes\"])",
  ].join("\n");
}

function literal(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(value);
}
