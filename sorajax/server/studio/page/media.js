// Pictures and clips by reference: an id of a video, or of an uploaded file.
import { blobAddress, get, shown, typeAt, upload } from "./api.js";
import { h } from "./dom.js";
import { isFile } from "./form.js";

const names = new Map();

/** An element that shows a picture or a clip, and whether it is a clip. */
export async function mediaOf(reference) {
  const url = isFile(reference) ? await blobAddress(`v1/files/${reference}/content`, true) : await shown(`v1/videos/${reference}/content`);
  const type = typeAt(url) ?? "video/mp4";
  if (type.startsWith("image/")) return { element: h("img", { alt: "", src: url }), moving: type === "image/gif" || type === "image/webp" };
  const film = h("video", { src: url, muted: true, loop: true, playsInline: true, preload: "auto" });
  return { element: film, moving: true };
}

/** A loaded film, of which frames can be drawn. Rejects for what a browser cannot play. */
export async function filmOf(reference) {
  const { element } = await mediaOf(reference);
  if (element.tagName !== "VIDEO") return null;
  element.loop = false;
  if (element.readyState < 2) {
    await new Promise((done, fail) => {
      element.addEventListener("loadeddata", done, { once: true });
      element.addEventListener("error", () => fail(new Error("film")), { once: true });
      element.load();
    });
  }
  return element;
}

/** Shows the frame at so many seconds. */
export async function seek(film, seconds) {
  const target = Math.min(Math.max(0, seconds), Math.max(0, film.duration - 0.001));
  if (Math.abs(film.currentTime - target) < 1e-4 && film.readyState >= 2) return;
  await new Promise((done) => {
    film.addEventListener("seeked", done, { once: true });
    film.currentTime = target;
  });
}

/** The frame that a film or picture shows, drawn in its own size or smaller. */
export function drawn(element, width = element.videoWidth || element.naturalWidth) {
  const [w, height] = [element.videoWidth || element.naturalWidth, element.videoHeight || element.naturalHeight];
  const canvas = h("canvas", { width, height: Math.max(1, Math.round((height * width) / w)) });
  canvas.getContext("2d").drawImage(element, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Uploads what a canvas shows, as png; returns the file's id. */
export async function uploadCanvas(canvas, name) {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return (await upload(blob, name)).id;
}

/** The name of a referenced file on a command line. */
export async function nameOf(reference) {
  if (!isFile(reference)) return `${reference}.mp4`;
  if (!names.has(reference)) names.set(reference, get(`v1/files/${reference}`).then((file) => file.filename, () => reference));
  return names.get(reference);
}
