// The same request elsewhere: as a command line and as a call of the API.
import { address } from "./api.js";
import { button, h } from "./dom.js";
import { optionsOf, taskOf, toRequest } from "./form.js";
import { nameOf } from "./media.js";
import { store } from "./store.js";
import { t } from "./text.js";
import { tell } from "./toast.js";

const FLAGS = {
  style: "style", size: "size", seconds: "seconds", frames: "frames", fps: "fps", seed: "seed", steps: "steps",
  guidance_scale: "guidance-scale", sampler: "sampler", temperature: "temperature", shift: "shift", negative: "negative",
};
const quote = (text) => (/^[\w./:=-]+$/.test(text) ? String(text) : `'${String(text).replaceAll("'", "'\\''")}'`);

/** The command line of a request. Its files are those of the downloads. */
export async function commandLine(form) {
  const task = taskOf(form);
  const words = ["python -m sorajax.sample"];
  const scenes = task.inputs.includes("scenes");
  if (!scenes) words.push(quote(form.prompt));
  if (store.about.model.name !== "world") words.push("--model", quote(store.about.model.name));
  if (scenes) words.push(`--${task.name} board.json`);
  else if (task !== store.about.tasks[0]) {
    words.push(`--${task.name}`, ...(await Promise.all(form.inputs.map(async (name) => (name ? quote(await nameOf(name)) : "FILE")))));
  }
  for (const name of optionsOf(task)) {
    const value = form.options[name];
    if (value !== undefined && value !== "") words.push(`--${name}`, quote(name === "mask" ? await nameOf(value) : value));
  }
  for (const [name, flag] of Object.entries(FLAGS)) {
    if (["seconds", "frames"].includes(name) && task.own_length) continue;
    if (form[name] !== undefined && form[name] !== "") words.push(`--${flag}`, quote(form[name]));
  }
  if (form.variations > 1) words.push("--num", form.variations);
  const line = words.join(" ");
  if (!scenes) return line;
  const board = await Promise.all(form.scenes.map(async ({ prompt, seconds, join, image }) => ({
    prompt, seconds, ...(join === "cut" ? { join } : {}), ...(image ? { image: await nameOf(image) } : {}),
  })));
  return `cat > board.json << 'END'\n${JSON.stringify(board, null, 1)}\nEND\n${line}`;
}

/** The call of the API for a request. */
export function apiCall(form) {
  const { path, fields } = toRequest(form);
  return `curl ${address(path)} -H 'content-type: application/json' -d ${quote(JSON.stringify(fields))}`;
}

/** Both, each with a button that copies it. */
export const shareBox = async (form) => shares([[t("share.command"), await commandLine(form)], [t("share.api"), apiCall(form)]]);

/** The command line that plays a clip again, with such a button. fields: as the server tells them of a clip. */
export const playBox = ({ prompt, world, seed, keys }) =>
  shares([[t("share.command"), `python -m sorajax.play ${quote(prompt)} --world ${quote(world)} --seed ${seed} --keys ${quote(keys || ".")} --record play.mp4`]]);

function shares(parts) {
  const part = (title, text) =>
    h("section.share", {}, h(".row", {}, h("h2.grow", {}, title), button(".tight", null, t("copy"), async () => {
      try {
        await navigator.clipboard.writeText(text);
        tell(t("copied"));
      } catch {
        tell(t("copy.failed"));
      }
    })), h("pre", { tabIndex: 0 }, text));
  return h(".shares", {}, parts.map(([title, text]) => part(title, text)));
}
