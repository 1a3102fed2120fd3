// multipart/mixed of the service to {name: Blob}; every part states its Content-Length.

export function split(buffer, contentType) {
  const opening = `--${contentType.match(/boundary=(\S+)/)[1]}\r\n`;
  const bytes = new Uint8Array(buffer);
  const parts = {};
  for (let at = 0; text(bytes, at, opening.length) === opening;) {
    const end = headEnd(bytes, at);
    const head = text(bytes, at, end - at);
    const length = Number(head.match(/Content-Length: (\d+)/)[1]);
    const name = head.match(/name="(\w+)"/)[1];
    const type = head.match(/Content-Type: (\S+)/)[1];
    parts[name] = new Blob([bytes.subarray(end, end + length)], { type });
    at = end + length + 2;
  }
  return parts;
}

function headEnd(bytes, at) {
  while (at < bytes.length && text(bytes, at, 4) !== "\r\n\r\n") at++;
  return at + 4;
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
