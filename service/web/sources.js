// Where frames come from: {name, address, moving, at(seconds), grab(): File, preview: element, stop()}.

import { element } from "./dom.js";
import { foreign, open, typeOf } from "./door.js";

const QUALITY = 0.95; // of JPEG, for frames of videos and cameras

export function fileSource(file, address) {
  return file.type.startsWith("video/") ? videoSource(file) : stillSource(file, address);
}

function stillSource(file, address) {
  const preview = element("img");
  preview.alt = "";
  preview.src = URL.createObjectURL(file);
  return {
    name: file.name, address, moving: false, preview,
    at: async () => {},
    grab: async () => file,
    stop: () => URL.revokeObjectURL(preview.src),
  };
}

export async function sampleSource(path, name) {
  const answer = await open(path);
  if (!answer.ok || typeOf(answer) !== "image/png") throw foreign(answer);
  return stillSource(new File([await answer.blob()], name, { type: "image/png" }), path);
}

// A video is not played but put to a time: so two of them show the same moment.
async function videoSource(file) {
  const video = element("video");
  const address = URL.createObjectURL(file);
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: address });
  await new Promise((done, fail) => {
    video.onloadeddata = done;
    video.onerror = () => fail(new Error(`${file.name} is no video that this browser can play`));
  });
  return {
    name: file.name, moving: true, preview: video, seconds: video.duration,
    at: (seconds) => sought(video, Math.min(seconds, video.duration)),
    grab: () => grab(video, file.name),
    stop: () => URL.revokeObjectURL(address),
  };
}

async function sought(video, seconds) {
  if (Math.abs(video.currentTime - seconds) < 0.001) return;
  const done = new Promise((seeked) => video.addEventListener("seeked", seeked, { once: true }));
  video.currentTime = seconds;
  await done;
}

// `beside`: the source of the other frame; two views of one scene have the same proportions.
export async function cameraSource(deviceId, beside) {
  if (!navigator.mediaDevices) {
    throw new Error("A browser opens cameras only for pages of this machine or behind https");
  }
  const { width, height } = beside ? sizeOf(beside.preview) : { width: 4, height: 3 };
  const wanted = { aspectRatio: { ideal: width / height || 4 / 3 }, height: { ideal: 480 } };
  if (deviceId) wanted.deviceId = { exact: deviceId };
  const stream = await navigator.mediaDevices.getUserMedia({ video: wanted }).catch((error) => {
    throw new Error(`The browser opens no camera (${error.message || error.name})`);
  });
  const video = element("video");
  Object.assign(video, { muted: true, playsInline: true, srcObject: stream });
  await video.play();
  const [track] = stream.getVideoTracks();
  return {
    name: track.label || "camera", moving: true, preview: video, seconds: Infinity,
    deviceId: track.getSettings().deviceId,
    at: async () => {},
    grab: () => grab(video, "camera"),
    stop: () => track.stop(),
  };
}

function sizeOf(preview) {
  const width = preview.naturalWidth ?? preview.videoWidth;
  return { width, height: preview.naturalHeight ?? preview.videoHeight };
}

// Every camera that the page may open; the browser tells them only once one of them was allowed.
export async function cameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
}

async function grab(video, name) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  return new File([blob], `${name}.jpg`, { type: "image/jpeg" });
}
