// The server's API. Addresses are relative to the page, so that a proxy may serve it below any path.
import { keep as remember, kept } from "./kept.js";
import { t } from "./text.js";

const KEY = "sorajax.key";

/** What the server, or the way to it, did not allow. status 0: no answer. */
export class Failure extends Error {
  constructor(status, message, param = null, wait = null) {
    super(message);
    Object.assign(this, { status, param, wait });
  }
}

export const address = (path) => new URL(path, document.baseURI).href;
export const apiKey = () => kept(KEY);
export const setKey = (key) => remember(KEY, key || null);

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (apiKey()) headers.authorization = `Bearer ${apiKey()}`;
  let answer;
  try {
    answer = await fetch(address(path), { ...options, headers });
  } catch {
    throw new Failure(0, t("error.network"));
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const message = body.error?.message ?? t("error.status", { status: answer.status });
  throw new Failure(answer.status, message, body.error?.param ?? null, Number(answer.headers.get("retry-after")) || null);
}

export const get = async (path) => (await ask(path)).json();
export const send = async (method, path, body, headers = {}) => {
  const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } };
  return (await ask(path, { method, keepalive: method === "DELETE", ...json })).json();
};

/** Uploads a file; its `id` names it in later requests. */
export async function upload(file, name = file.name) {
  const form = new FormData();
  form.append("purpose", "vision");
  form.append("file", file, name);
  return (await ask("v1/files", { method: "POST", body: form })).json();
}

/** Queues a video. A request whose answer was lost is sent again, and makes no second video. */
export async function create(path, body) {
  const headers = { "idempotency-key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` };
  for (let attempt = 0; ; attempt++) {
    try {
      return await send("POST", path, body, headers);
    } catch (failure) {
      if (failure.status !== 0 || attempt === 2) throw failure;
      await new Promise((done) => setTimeout(done, 500 * (attempt + 1)));
    }
  }
}

const blobs = new Map();
const types = new Map();
const MOST_BLOBS = 150;

/** An address of something of the server that an element can show; with a key it is fetched first. */
export async function shown(path) {
  if (!apiKey()) return address(path);
  return blobAddress(path);
}

/** The same, always fetched; `typed` finds out what it is, where the server does not say. */
export async function blobAddress(path, typed = false) {
  if (!blobs.has(path)) {
    blobs.set(path, fetched(path, typed));
    blobs.get(path).catch(() => blobs.delete(path));
    if (blobs.size > MOST_BLOBS) {
      const [oldest, url] = blobs.entries().next().value;
      blobs.delete(oldest);
      url.then(URL.revokeObjectURL, () => {});
    }
  }
  return blobs.get(path);
}

async function fetched(path, typed) {
  const blob = await (await ask(path)).blob();
  if (!typed) return URL.createObjectURL(blob);
  const type = typeOf(new Uint8Array(await blob.slice(0, 16).arrayBuffer()));
  const url = URL.createObjectURL(new Blob([blob], { type }));
  types.set(url, type);
  return url;
}

/** What an address of `blobAddress` holds, e.g. image/png. */
export const typeAt = (url) => types.get(url);

/** The type of a file that begins with these bytes. */
export function typeOf(bytes) {
  const text = String.fromCharCode(...bytes);
  if (text.startsWith("\x89PNG")) return "image/png";
  if (text.startsWith("GIF8")) return "image/gif";
  if (text.startsWith("\xff\xd8")) return "image/jpeg";
  if (text.slice(8, 12) === "WEBP") return "image/webp";
  if (text.slice(4, 8) === "ftyp") return "video/mp4";
  return text.startsWith("\x1a\x45\xdf\xa3") ? "video/webm" : "video/x-msvideo";
}

/** Saves something of the server as a file. */
export async function save(path, name) {
  const link = document.createElement("a");
  link.href = await shown(path);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
