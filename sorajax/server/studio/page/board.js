// The storyboard: scenes as cards on a time line.
import { create, shown } from "./api.js";
import { button, dialog, fill, h, icon, later, round } from "./dom.js";
import { cost, fromAddress, toAddress, toRequest } from "./form.js";
import { jobCard } from "./job.js";
import { keep as remember, kept } from "./kept.js";
import { mediaOf } from "./media.js";
import { pickClip, takeFile } from "./pick.js";
import { note } from "./route.js";
import { moreButton, pills } from "./settings.js";
import { shareBox } from "./share.js";
import { grip } from "./sortable.js";
import { store } from "./store.js";
import { about, length, t } from "./text.js";
import { announce, tell } from "./toast.js";

const DRAFT = "sorajax.board";
const TASK = "storyboard";

export function board(box, { query, values }) {
  const begun = query === "" ? kept(DRAFT) ?? "" : query;
  const form = fromAddress(begun);
  form.task = TASK;
  let film = values.get("film") ?? new URLSearchParams(begun).get("film");
  const usual = () => store.about.model.frames[0] / store.about.model.fps;
  if (!form.scenes.length) form.scenes = [scene(), scene()];
  const line = h("ol.board", { "aria-label": t("board.line") });
  const scale = h(".board-scale");
  const stage = h(".board-stage");
  const error = h("p.error", { role: "alert", hidden: true });
  const price = h("span.small.soft");
  const submitter = button(".main", "make", t("board.make"), submit);

  function scene(more = {}) {
    return { prompt: "", seconds: Math.round(usual() * 10) / 10, join: "continue", ...more };
  }

  const keep = later(250, () => {
    const query = new URLSearchParams(toAddress(form));
    query.delete("task");
    if (film) query.set("film", film);
    if (box.isConnected) note("board", [], query.toString());
    remember(DRAFT, query.toString());
  });
  function changed() {
    error.hidden = true;
    showTimes();
    keep();
  }
  function showTimes() {
    let start = 0;
    form.scenes.forEach((one, index) => {
      const card = line.children[index];
      card.querySelector(".board-time").textContent = t("board.from", { from: length(start), to: length(start + one.seconds) });
      start += one.seconds;
    });
    fill(scale, h("span", {}, t("board.whole", { n: form.scenes.length, time: length(start) })));
    const seconds = cost(form);
    price.textContent = seconds === null || form.scenes.some((one) => !one.prompt.trim()) ? "" : t("cost", { time: about(seconds) });
  }

  function cardOf(one) {
    const place = () => form.scenes.indexOf(one);
    const item = h("li.board-card", { "data-sort": true });
    const picture = h(".board-picture");
    const failed = (failure) => ((error.hidden = false), (error.textContent = failure.message));
    const put = (name) => {
      one.image = name ?? undefined;
      if (name) one.join = "cut";
      showPicture();
      showJoin();
      changed();
    };
    async function showPicture() {
      if (!one.image) {
        fill(picture, h("button.board-empty", { type: "button", onclick: () => pickClip("picture", put, failed) }, icon("image"), h("span", {}, t("board.picture"))));
        return;
      }
      const media = await mediaOf(one.image).catch(() => null);
      fill(picture, media?.element ?? h("span.small.soft", {}, t("error.film")), round("close", t("board.picture.clear"), () => put(null)));
    }
    picture.addEventListener("dragover", (event) => (event.preventDefault(), picture.classList.add("over")));
    picture.addEventListener("dragleave", () => picture.classList.remove("over"));
    picture.addEventListener("drop", async (event) => {
      event.preventDefault();
      picture.classList.remove("over");
      const id = event.dataTransfer.getData("text/plain");
      if (event.dataTransfer.files[0]) await takeFile(event.dataTransfer.files[0], put, failed);
      else if (store.clips.has(id)) put(id);
    });
    const text = h("textarea", { rows: 3, value: one.prompt, placeholder: t(place() ? "board.then" : "board.first"), "aria-label": t("board.prompt", { n: place() + 1 }), oninput: () => ((one.prompt = text.value), changed()) });
    const seconds = h("input", { type: "number", min: 0.5, max: 600, step: 0.5, value: one.seconds, "aria-label": t("board.seconds", { n: place() + 1 }), oninput: () => {
      if (Number(seconds.value) > 0) {
        one.seconds = Number(seconds.value);
        size();
        changed();
      }
    } });
    const size = () => item.style.setProperty("--seconds", Math.min(12, Math.max(1, one.seconds)));
    const joins = ["continue", "cut"].map((name) =>
      h("button", { type: "button", onclick: () => ((one.join = name), name === "continue" && one.image && put(null), showJoin(), changed()) }, t(`join.${name}`)));
    const joint = h(".board-join.segments", { role: "group", "aria-label": t("board.join", { n: place() + 1 }) }, joins);
    const showJoin = () => {
      joint.hidden = place() === 0;
      joins.forEach((button, index) => button.setAttribute("aria-pressed", String(one.join === ["continue", "cut"][index])));
    };
    const move = (by) => {
      const from = place();
      form.scenes.splice(from + by, 0, ...form.scenes.splice(from, 1));
      show();
      line.children[from + by].querySelector(".grip").focus();
      announce(t("queue.moved", { place: from + by + 1 }));
      changed();
    };
    item.append(
      h(".row.board-head", {}, grip(t("board.grip", { n: place() + 1 }), item, "x", { place, count: () => form.scenes.length, move }), h("strong", {}, t("scene", { n: place() + 1 })), h("span.board-time.small.soft.grow"),
        round("bin", t("board.delete", { n: place() + 1 }), () => {
          form.scenes.splice(place(), 1);
          if (!form.scenes.length) form.scenes.push(scene());
          show();
          changed();
        })),
      picture, text,
      h(".row.board-foot", {}, h("label.pill.number", {}, seconds, h("span", {}, t("board.s"))), h("span.grow"), joint),
    );
    size();
    showPicture();
    showJoin();
    return item;
  }

  function show() {
    fill(line, form.scenes.map(cardOf));
    showTimes();
  }

  async function submit() {
    error.hidden = true;
    const first = form.scenes.findIndex((one) => !one.prompt.trim());
    if (first >= 0) {
      error.hidden = false;
      error.textContent = t("board.missing", { n: first + 1 });
      line.children[first].querySelector("textarea").focus();
      return;
    }
    submitter.disabled = true;
    try {
      const { path, fields } = toRequest(form);
      const video = await create(path, fields);
      film = video.id;
      store.add(video);
      announce(t("queued"));
      keep();
      showFilm();
    } catch (failure) {
      error.hidden = false;
      error.textContent = failure.message;
    } finally {
      submitter.disabled = false;
    }
  }

  let job = null;
  let state = "";
  async function showFilm() {
    if (!film) return;
    const entry = store.queue.find((one) => one.id === film);
    if (entry) {
      if (!job || state !== film) {
        job = jobCard(entry);
        state = film;
        fill(stage, h(".narrow", {}, job.box));
      }
      job.show(entry);
      return;
    }
    const clip = await store.clip(film).catch(() => null);
    const now = `${film} ${clip?.status}`;
    if (now === state) return;
    state = now;
    if (clip?.status !== "completed") {
      fill(stage, clip?.error && h("p.error", { role: "alert" }, clip.error.message));
      return;
    }
    const player = h("video.board-film", { controls: true, muted: true, playsInline: true, autoplay: true, "aria-label": t("board.film") });
    shown(`v1/videos/${film}/content`).then((url) => (player.src = url), (failure) => tell(failure.message));
    player.addEventListener("timeupdate", () => {
      let start = 0;
      form.scenes.forEach((one, index) => {
        line.children[index]?.classList.toggle("playing", !player.paused && player.currentTime >= start && player.currentTime < start + one.seconds);
        start += one.seconds;
      });
    });
    fill(stage, player, h("a.button.tight", { href: `#/video/${film}` }, t("board.open")));
  }

  const more = moreButton(form, changed);
  const choices = pills(form, changed, { lengths: false, variations: false, last: more.toggle });
  box.append(
    h(".head", {}, h("h1", {}, t("place.board")), scale),
    stage,
    line,
    h(".row.board-add", {}, button("", "plus", t("board.add"), () => {
      form.scenes.push(scene());
      show();
      line.lastChild.querySelector("textarea").focus();
      line.lastChild.scrollIntoView({ block: "nearest", inline: "nearest" });
      changed();
    })),
    h(".compose.board-settings", {}, choices.box, more.box, error,
      h(".row.compose-foot", {}, button(".plain.tight", "code", t("share"), async () => dialog(t("share"), await shareBox(form), { closeLabel: t("close") })), h("span.grow"), price, submitter)),
  );
  show();
  showFilm();
  if (query === "" && begun) keep();
  for (const name of ["queue", "clips"]) store.addEventListener(name, showFilm);
  return () => ["queue", "clips"].forEach((name) => store.removeEventListener(name, showFilm));
}
