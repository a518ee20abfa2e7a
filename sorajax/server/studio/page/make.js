// Making clips: the prompt, the task with its inputs, the settings, and what is being made.
import { create, send, upload } from "./api.js";
import { card, grid } from "./card.js";
import { button, dialog, fill, h, icon, later } from "./dom.js";
import { blank, cost, fromAddress, fromFields, taskOf, toAddress, toRequest } from "./form.js";
import { inputsOf, optionsBox } from "./inputs.js";
import { failedCard, jobCard, reuse } from "./job.js";
import { keep as remember, kept } from "./kept.js";
import { metadataOf } from "./mp4.js";
import { again } from "./play.js";
import { go, note, to } from "./route.js";
import { moreButton, pills } from "./settings.js";
import { shareBox } from "./share.js";
import { store } from "./store.js";
import { about, maybe, t } from "./text.js";
import { announce, tell } from "./toast.js";

const DRAFT = "sorajax.draft";
const RECENT = 12;
const dismissed = new Set();

export function make(box, { query }) {
  const begun = query === "" ? kept(DRAFT) ?? "" : query;
  const form = fromAddress(begun);
  if (form.task === "storyboard") form.task = store.about.tasks[0].name;
  const prompt = h("textarea", {
    id: "prompt", rows: 2, value: form.prompt, placeholder: t("prompt.example"), "aria-label": t("prompt"), maxLength: store.about.limits.prompt,
    oninput: () => ((form.prompt = prompt.value), grow(), changed("prompt")),
    onkeydown: (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && submit(),
  });
  const error = h("p.error.compose-error", { role: "alert", hidden: true });
  const price = h("span.small.soft.compose-cost");
  const submitter = button(".main", "make", t("make"), () => submit(), { type: "submit" });
  const inputs = h(".compose-inputs");
  const settings = h(".compose-settings");
  const tasks = taskList();
  const told = h(".compose-note");
  const title = h("h1", {}, t("make.title"));
  const jobs = h("section.jobs", { "aria-label": t("jobs") });
  const recent = h("section.recent", { "aria-label": t("recent") });
  const shown = new Map();

  function grow() {
    prompt.style.height = "auto";
    prompt.style.height = `${Math.min(320, prompt.scrollHeight + 2)}px`;
  }

  function taskList() {
    const list = h(".tasks", { role: "group", "aria-label": t("tasks") });
    for (const task of store.about.tasks.filter((one) => !one.inputs.includes("scenes"))) {
      list.append(h("button.task", {
        type: "button", "aria-pressed": String(task.name === form.task), "data-task": task.name, title: maybe(`task.${task.name}.about`, task.summary), onclick: () => choose(task.name),
      }, icon(task.name), maybe(`task.${task.name}`, task.name)));
    }
    return list;
  }

  function choose(name) {
    const next = { ...blank(name), ...Object.fromEntries(Object.entries(form).filter(([key]) => !["task", "inputs", "options", "scenes"].includes(key))) };
    const task = taskOf(next);
    next.inputs = task.inputs.map((kind, index) => (kind === "clip" || taskOf(form).inputs[index] === kind ? form.inputs[index] ?? null : null));
    go("make", [], toAddress(next));
  }

  let options = null;
  let choices = null;
  function showTask() {
    const task = taskOf(form);
    fill(inputs, task.inputs.length > 0 && inputsOf(form, changed));
    options = optionsBox(form, changed);
    inputs.append(options.box);
    inputs.hidden = !task.inputs.length;
    const more = moreButton(form, changed);
    choices = pills(form, changed, { last: more.toggle });
    fill(settings, choices.box, more.box);
    const summary = maybe(`task.${task.name}.about`, task.summary);
    fill(told, task.name !== store.about.tasks[0].name && h("p.small.soft", {}, summary));
  }

  const keep = later(250, () => {
    if (box.isConnected) note("make", [], toAddress(form));
    remember(DRAFT, toAddress({ ...form, change: undefined }));
  });
  function changed(what) {
    error.hidden = true;
    if (what === "input") options.refresh();
    if (what === "seconds") choices.show();
    showCost();
    keep();
  }
  function showCost() {
    const seconds = cost(form);
    const ready = form.prompt.trim() && form.inputs.every(Boolean);
    price.textContent = ready && seconds !== null ? t("cost", { time: about(seconds) }) : "";
  }

  let busy = false;
  async function submit() {
    if (busy) return;
    busy = submitter.disabled = true;
    error.hidden = true;
    let done = 0;
    try {
      if (form.inputs.some((name) => !name)) throw new Error(t("error.input"));
      for (let number = 0; number < form.variations; number++) {
        const { path, fields } = toRequest(form, number);
        const video = await create(path, fields);
        store.add(video);
        done++;
        if (form.change && number === 0) await replace(form.change, video.id);
      }
      announce(t("queued"));
    } catch (failure) {
      error.hidden = false;
      const some = failure.status === 429 && done ? t("error.some", { n: done, of: form.variations }) : "";
      error.textContent = [some, failure.message].filter(Boolean).join(" ");
      const field = failure.param && box.querySelector(`[data-name="${failure.param}"]`);
      if (field) {
        box.querySelector("#more-settings").hidden = false;
        field.focus();
      } else prompt.focus();
    } finally {
      busy = submitter.disabled = false;
    }
  }

  /** The new video takes the place of the one that was changed. */
  async function replace(old, name) {
    const order = store.queue.filter((entry) => entry.status === "queued" && entry.id !== name).map((entry) => (entry.id === old ? name : entry.id));
    delete form.change;
    keep();
    showChange();
    if (order.includes(name)) await send("POST", "v1/queue", { ids: order.slice(0, 1000) });
    await store.remove(old).finish();
    tell(t("changed"));
  }

  const change = h(".compose-change");
  function showChange() {
    fill(change, form.change && h(".row", {}, h("span.grow.small", {}, t("change.about")), button(".tight.plain", null, t("change.leave"), () => (delete form.change, keep(), showChange()))));
    submitter.lastChild.textContent = t(form.change ? "change.save" : "make");
  }

  function showJobs() {
    const failed = store.listed().filter((clip) => clip.status === "failed" && !dismissed.has(clip.id) && clip.created_at > Date.now() / 1000 - 3600).slice(0, 3);
    const wanted = [...store.queue.slice(0, 6), ...failed];
    const made = wanted.map((entry) => {
      const kind = entry.status === "failed" ? "failed" : "job";
      let one = shown.get(entry.id);
      if (!one || one.kind !== kind) {
        one = kind === "failed" ? { kind, box: failedCard(entry, (id) => (dismissed.add(id), showJobs())), show: () => {} } : { kind, ...jobCard(entry) };
        shown.set(entry.id, one);
      }
      one.show(entry);
      return one.box;
    });
    const more = store.queue.length > 6 && h("a.button.tight.plain", { href: to("queue") }, t("queue.more", { n: store.queue.length - 6 }));
    const now = [...jobs.children];
    if (now.length !== made.length + Boolean(more) || made.some((one, index) => now[index] !== one)) fill(jobs, made, more);
  }

  let listed = "";
  function showRecent() {
    const clips = store.finished().slice(0, RECENT);
    const state = clips.map((clip) => clip.id + store.favourites.has(clip.id)).join();
    if (state === listed) return;
    listed = state;
    fill(recent, clips.length > 0 && [
      h(".head", {}, h("h2.grow", {}, t("recent")), h("a.button.tight.plain", { href: to("gallery") }, t("recent.all"))),
      grid(t("recent"), clips.map((clip) => card(clip))),
    ]);
  }

  const compose = h("form.compose", { onsubmit: (event) => (event.preventDefault(), submit()), novalidate: true },
    change, told, prompt, inputs, settings, error,
    h(".row.compose-foot", {}, button(".plain.tight", "code", t("share"), async () => {
      dialog(t("share"), await shareBox(form), { closeLabel: t("close") });
    }), h("span.grow"), price, submitter),
  );
  box.append(h(".make", {}, title, tasks, compose), h(".below", {}, jobs, recent));
  compose.addEventListener("dragover", (event) => (event.preventDefault(), compose.classList.add("over")));
  compose.addEventListener("dragleave", () => compose.classList.remove("over"));
  compose.addEventListener("drop", (event) => {
    event.preventDefault();
    compose.classList.remove("over");
    restore(event.dataTransfer.files[0], event.dataTransfer.getData("text/plain"), (failure) => ((error.hidden = false), (error.textContent = failure.message)));
  });
  showTask();
  showChange();
  showCost();
  showJobs();
  showRecent();
  requestAnimationFrame(grow);
  if (query === "" && begun) note("make", [], toAddress(form));
  store.addEventListener("queue", showJobs);
  store.addEventListener("clips", showJobs);
  store.addEventListener("clips", showRecent);
  return () => {
    for (const [name, work] of [["queue", showJobs], ["clips", showJobs], ["clips", showRecent]]) store.removeEventListener(name, work);
  };
}

/** A dropped file: the settings of a clip of ours, else a picture or clip to begin with. A dropped card: its settings. */
async function restore(file, id, failed) {
  try {
    if (!file) {
      if (store.clips.has(id)) await reuse(id);
      return;
    }
    const metadata = await metadataOf(file);
    if (metadata) {
      if (metadata.task === "play") return go("play", [], again(metadata));
      const { fields, missing } = await send("POST", "v1/studio/restore", { metadata });
      const restored = fromFields(fields);
      go(restored.task === "storyboard" ? "board" : "make", [], toAddress(restored));
      tell(missing.length ? t("restored.some", { files: missing.map(nameOfMissing).join(", ") }) : t("restored"));
      return;
    }
    const { id: name } = await upload(file);
    const still = file.type.startsWith("image/") && file.type !== "image/gif";
    const form = blank(still ? "image" : "extend");
    form.inputs = [name];
    form.prompt = document.querySelector("#prompt")?.value ?? "";
    go("make", [], toAddress(form));
  } catch (failure) {
    failed(failure);
  }
}

/** What to give again: the place of an input in its task, and the name of its file if it is known. */
function nameOfMissing({ slot, file }) {
  const [task, number] = slot.split(".");
  const kind = store.about.tasks.find((one) => one.name === task)?.inputs[number];
  const label = task === "storyboard" ? t("restored.scene", { n: Number(number) + 1 }) : slot === "mask" ? t("restored.mask") : maybe(`slot.${slot}`, t(`slot.${kind}`));
  return file ? `${label} (${file})` : label;
}
