// A pair to the service, and the parts of its answer: {name: Blob}.

import { foreign, open, read, typeOf } from "./door.js";
import { split } from "./multipart.js";

const SEEN = ["visible", "infrared", "fused", "mask", "counts"];
let views = [...SEEN, "confidence"];

export async function fuse(files, query) {
  const answer = await post(files, query);
  if (answer.ok) {
    if (typeOf(answer) !== "multipart/mixed") throw foreign(answer);
    return split(await answer.arrayBuffer(), answer.headers.get("Content-Type"));
  }
  const problem = await read(answer);
  if (views !== SEEN && problem.detail.startsWith("return=confidence")) {
    views = SEEN; // networks exported long ago have none
    return fuse(files, query);
  }
  throw Object.assign(new Error(problem.detail), {
    part: problem.part, kind: problem.kind, retrySeconds: Number(answer.headers.get("Retry-After")),
  });
}

function post({ visible, infrared }, query) {
  const form = new FormData();
  form.append("visible", visible);
  form.append("infrared", infrared);
  const asked = new URLSearchParams({ return: views, ...query });
  return open(`fuse-segment?${asked}`, {
    method: "POST", body: form, headers: { Accept: "multipart/mixed" },
  });
}
