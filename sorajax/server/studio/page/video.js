// One clip: it plays, says how it was made, and is where others begin.
import { get, save, shown } from "./api.js";
import { empty, remove, toggleFavourite } from "./card.js";
import { button, fill, h, icon, round } from "./dom.js";
import { blank, fromFields, toAddress } from "./form.js";
import { failedCard, jobCard, reuse } from "./job.js";
import { drawn, uploadCanvas } from "./media.js";
import { pickClip } from "./pick.js";
import { go, to } from "./route.js";
import { playBox, shareBox } from "./share.js";
import { store } from "./store.js";
import { ago, length, maybe, t } from "./text.js";
import { tell } from "./toast.js";

const FORMATS = ["mp4", "gif", "webp"];
const FACTS = ["seed", "steps", "fps", "guidance_scale", "temperature", "shift", "sampler", "style", "negative", "strength", "gap", "trim", "direction", "world"];

export function video(box, { rest: [id] }) {
  const place = h(".clip");
  box.append(place);
  let state = "";
  let job = null;
  async function show() {
    let clip;
    try {
      clip = await store.clip(id);
    } catch (failure) {
      fill(place, h("h1.unseen", {}, t("gone")), empty("clips", t("gone"), failure.message, h("a.button", { href: to("gallery") }, t("place.gallery"))));
      return;
    }
    const entry = store.queue.find((one) => one.id === id);
    if (entry && job) job.show(entry);
    const now = entry ? "queued" : clip.status + store.favourites.has(id);
    if (now === state) return;
    state = now;
    if (entry) {
      job = jobCard(entry);
      fill(place, h("h1.unseen", {}, clip.prompt || t("untitled")), h(".narrow", {}, job.box));
    } else if (clip.status === "failed") {
      fill(place, h("h1.unseen", {}, clip.prompt || t("untitled")), h(".narrow", {}, failedCard(clip, () => history.back())));
    } else finished(place, clip);
  }
  show();
  for (const name of ["clips", "queue"]) store.addEventListener(name, show);
  const keys = (event) => {
    if (event.target.closest?.("input, textarea, select, dialog, video")) return;
    if (event.key === "f" || event.key === "F") toggleFavourite(id);
    if (event.key === "Delete") deleted(id);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.target.closest?.("[role=slider]")) neighbour(id, step);
  };
  document.addEventListener("keydown", keys);
  return () => {
    for (const name of ["clips", "queue"]) store.removeEventListener(name, show);
    document.removeEventListener("keydown", keys);
  };
}

function neighbour(id, step) {
  const clips = store.finished();
  const next = clips[clips.findIndex((clip) => clip.id === id) + step];
  if (next) go("video", [next.id]);
}

function deleted(id) {
  const clips = store.finished();
  const index = clips.findIndex((clip) => clip.id === id);
  const next = clips[index + 1] ?? clips[index - 1];
  remove(id);
  if (next) location.replace(to("video", [next.id]));
  else go("gallery");
}

/** Opens the form with a task that begins with a clip. */
function begin(task, inputs, prompt, more = {}) {
  const form = { ...blank(task), ...more, inputs, prompt };
  go("make", [], toAddress(form));
}

async function finished(place, clip) {
  const film = h("video.clip-film", { controls: true, loop: true, muted: true, autoplay: true, playsInline: true, "aria-label": clip.prompt || t("untitled") });
  const [width, height] = clip.size.split("x").map(Number);
  film.style.aspectRatio = `${width} / ${height}`;
  shown(`v1/videos/${clip.id}/content`).then((url) => (film.src = url), () => tell(t("error.film")));
  const marked = store.favourites.has(clip.id);
  const facts = h("dl.facts");
  const lineage = h(".lineage");
  const prompt = clip.prompt;
  const tasks = (...names) => names.filter((name) => store.about.tasks.some((task) => task.name === name));
  const follow = (name, inputs, text = prompt) =>
    button("", name, maybe(`follow.${name}`, t(`task.${name}`)), () => begin(name, inputs, text));
  const actions = h(".actions", {},
    tasks("edit").map(() => button(".main", "edit", t("follow.edit"), () => begin("edit", [clip.id], prompt))),
    tasks("extend").map((name) => follow(name, [clip.id])),
    button("", "frame", t("follow.frame"), () => useFrame(film, prompt)),
    tasks("fill").map((name) => follow(name, [clip.id])),
    tasks("connect", "blend").map((name) => follow(name, [clip.id, null])),
    button("", "compare", t("compare"), () => pickClip("clip", (other) => go("compare", [clip.id, other]), (failure) => tell(failure.message))),
    button("", "again", t("again"), () => reuse(clip.id)),
  );
  const downloads = h(".downloads", { role: "group", "aria-label": t("download") }, icon("down"), FORMATS.map((format) =>
    h("button.button.tight", { type: "button", "aria-label": t("download.as", { format }), onclick: () => download(clip, format) }, format)));
  fill(place,
    h(".clip-stage", {}, film),
    h(".clip-side", {},
      h(".row", {}, h("a.round", { href: to("gallery"), "aria-label": t("back"), title: t("back") }, icon("back")), h("span.grow"),
        round("star", t(marked ? "unmark" : "mark"), () => toggleFavourite(clip.id), { "aria-pressed": String(marked) }),
        round("bin", t("delete"), () => deleted(clip.id))),
      h("h1.clip-prompt", {}, prompt || t("untitled")),
      h("p.soft.small", {}, [maybe(`task.${clip.task}`, clip.task), length(clip.seconds), clip.size.replace("x", " × "), clip.completed_at && ago(clip.completed_at)].filter(Boolean).join(" · ")),
      lineage,
      actions,
      downloads,
      h("details.how", {}, h("summary", {}, t("how")), facts),
    ),
  );
  try {
    const { fields } = await get(`v1/videos/${clip.id}/request`);
    fill(facts, FACTS.filter((name) => fields[name] !== undefined && fields[name] !== "").map((name) => [h("dt", {}, maybe(`option.${name}`, t(name))), h("dd", {}, String(fields[name]))]));
    const form = fromFields(fields);
    place.querySelector(".how").append(fields.play ? playBox(fields) : await shareBox(form));
    const from = form.inputs.filter((name) => name?.startsWith("video_"));
    fill(lineage, from.length > 0 && h("p.small.soft", {}, t("made.from"), " ", from.map((name, index) => [index ? ", " : "", h("a", { href: to("video", [name]) }, store.clips.get(name)?.prompt || t("made.clip"))])));
    scenes(place, form, film);
  } catch (failure) {
    fill(facts, h("p.small.soft", {}, failure.message));
  }
}

/** The scenes of a storyboard below the film; the one that plays is marked. */
function scenes(place, form, film) {
  if (!form.scenes.length) return;
  let start = 0;
  const parts = form.scenes.map((scene) => {
    const begun = start;
    start += scene.seconds;
    const part = h("button.scene-part", { type: "button", style: { "flex-grow": scene.seconds }, onclick: () => ((film.currentTime = begun + 0.01), film.play()) }, scene.prompt);
    return { part, begun, end: start };
  });
  film.addEventListener("timeupdate", () => {
    for (const { part, begun, end } of parts) part.classList.toggle("playing", film.currentTime >= begun && film.currentTime < end);
  });
  place.querySelector(".clip-stage").append(h(".scene-parts", { role: "group", "aria-label": t("scenes") }, parts.map(({ part }) => part)));
}

async function useFrame(film, prompt) {
  film.pause();
  try {
    const name = await uploadCanvas(drawn(film), "frame.png");
    begin("image", [name], prompt);
  } catch (failure) {
    tell(failure.message);
  }
}

async function download(clip, format) {
  try {
    const words = clip.prompt.toLowerCase().replace(/[^a-z0-9]+/g, "_").slice(0, 60);
    if (format !== "mp4") tell(t("converting", { format }));
    await save(`v1/videos/${clip.id}/download?format=${format}`, `${words || clip.id}.${format}`);
  } catch (failure) {
    tell(failure.message);
  }
}

