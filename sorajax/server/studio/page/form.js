// A request as the page edits it: read from an address and written to one, and turned into the API's fields.
import { store } from "./store.js";

/** Settings of any task, with the kind of their values. */
export const SETTINGS = {
  style: "text", size: "text", seconds: "number", frames: "number", fps: "number", seed: "number", steps: "number",
  guidance_scale: "number", sampler: "text", temperature: "number", shift: "number", negative: "text",
};
const SHARED = { prompt: "text", variations: "number", change: "text", ...SETTINGS };

export const taskOf = (form) => store.about.tasks.find((task) => task.name === form.task) ?? store.about.tasks[0];
export const optionsOf = (task) => [...Object.keys(task.options), ...(task.trims ? ["trim"] : [])];
export const isFile = (reference) => Boolean(reference) && !reference.startsWith("video_");
const asReference = (name) => (isFile(name) ? { file_id: name } : { id: name });
const asName = (reference) => reference?.id ?? reference?.file_id ?? null;

/** An empty request of a task. */
export const blank = (task = store.about.tasks[0].name) => ({ task, prompt: "", variations: 1, inputs: [], scenes: [], options: {} });

/** The parameters of an address. */
export function toAddress(form) {
  const task = taskOf(form);
  const values = new URLSearchParams();
  if (form.task !== store.about.tasks[0].name) values.set("task", form.task);
  for (const name of Object.keys(SHARED)) {
    const value = form[name];
    if (value !== undefined && value !== null && value !== "" && !(name === "variations" && value === 1)) values.set(name, value);
  }
  if (form.inputs.some(Boolean)) values.set("inputs", form.inputs.map((name) => name ?? "").join(","));
  if (form.scenes.length) values.set("scenes", JSON.stringify(form.scenes));
  for (const name of optionsOf(task)) {
    const value = form.options[name];
    if (value !== undefined && value !== null && value !== "") values.set(name, value);
  }
  return values.toString();
}

/** The request of an address. */
export function fromAddress(text) {
  const values = new URLSearchParams(text);
  const form = blank(values.get("task") ?? undefined);
  const task = taskOf(form);
  form.task = task.name;
  for (const [name, kind] of Object.entries(SHARED)) {
    if (!values.has(name)) continue;
    const value = kind === "number" ? Number(values.get(name)) : values.get(name);
    if (kind !== "number" || Number.isFinite(value)) form[name] = value;
  }
  form.variations = Math.min(16, Math.max(1, Math.round(form.variations || 1)));
  form.inputs = (values.get("inputs") ?? "").split(",").map((name) => name || null);
  form.inputs.length = task.inputs.includes("scenes") ? 0 : task.inputs.length;
  form.inputs = Array.from(form.inputs, (name) => name ?? null);
  form.scenes = parsed(values.get("scenes"));
  for (const name of optionsOf(task)) {
    if (!values.has(name)) continue;
    const number = typeof task.options[name] === "number";
    form.options[name] = number ? Number(values.get(name)) : values.get(name);
  }
  return form;
}

function parsed(text) {
  try {
    const scenes = JSON.parse(text ?? "[]");
    return Array.isArray(scenes) ? scenes.filter((scene) => scene && typeof scene === "object") : [];
  } catch {
    return [];
  }
}

/** Path and fields of the request for one video. number: which of the variations it is. */
export function toRequest(form, number = 0) {
  const task = taskOf(form);
  const scenes = task.inputs.includes("scenes");
  const fields = scenes ? {} : { prompt: form.prompt };
  for (const name of Object.keys(SETTINGS)) {
    if (["seconds", "frames"].includes(name) && task.own_length) continue;
    if (form[name] !== undefined && form[name] !== null && form[name] !== "") fields[name] = form[name];
  }
  if (fields.seed !== undefined) fields.seed += number;
  for (const name of optionsOf(task)) {
    const value = form.options[name];
    if (value === undefined || value === null || value === "") continue;
    fields[name] = name === "mask" ? asReference(value) : value;
  }
  if (task.name === "edit" && form.inputs[0] && !isFile(form.inputs[0])) {
    return { path: `v1/videos/${form.inputs[0]}/remix`, fields };
  }
  if (scenes) {
    fields[task.name] = form.scenes.map(({ prompt, seconds, join, image }) => ({
      prompt, seconds, join: join ?? "continue", ...(image ? { image: asReference(image) } : {}),
    }));
  } else if (task !== store.about.tasks[0]) {
    const references = form.inputs.map((name) => name && asReference(name));
    fields[task.name] = references.length > 1 ? references : references.length ? references[0] : true;
  }
  return { path: "v1/videos", fields };
}

/** The request whose fields the server tells of a video, or a file's metadata of itself. */
export function fromFields(fields) {
  const names = store.about.tasks.map((task) => task.name);
  const form = blank(names.find((name) => fields[name] !== undefined));
  const task = taskOf(form);
  for (const name of Object.keys(SHARED)) if (fields[name] !== undefined && fields[name] !== null) form[name] = fields[name];
  if (fields.width && fields.height) form.size = `${fields.width}x${fields.height}`;
  const given = fields[task.name];
  if (task.inputs.includes("scenes")) {
    form.scenes = given.map((scene) => ({ ...scene, image: asName(scene.image) }));
  } else {
    const list = Array.isArray(given) ? given : [given];
    form.inputs = task.inputs.map((_, index) => asName(list[index]));
  }
  for (const name of optionsOf(task)) {
    const value = fields[name];
    if (value !== undefined && value !== null) form.options[name] = typeof value === "object" ? asName(value) : value;
  }
  return form;
}

/** Seconds that a request will take, from what earlier videos took; null if nothing is known. */
export function cost(form) {
  const { prices, model } = store.about;
  const price = prices[form.task] ?? prices[""];
  if (price === undefined) return null;
  const [width, height] = (form.size || model.sizes[0]).split("x").map(Number);
  const task = taskOf(form);
  let seconds = form.seconds || (form.frames || model.frames[0]) / (form.fps || model.fps);
  if (form.scenes.length) seconds = form.scenes.reduce((sum, scene) => sum + scene.seconds, 0);
  else if (!task.plans_length) for (const name of form.inputs) seconds += Number(store.clips.get(name)?.seconds ?? 0);
  const frames = Math.max(1, seconds * (form.fps || model.fps));
  return price * (form.steps || model.steps) * frames * width * height * form.variations;
}
