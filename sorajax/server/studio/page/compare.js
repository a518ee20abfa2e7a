// Two clips side by side, played together.
import { get, shown } from "./api.js";
import { empty } from "./card.js";
import { button, fill, h } from "./dom.js";
import { pickClip } from "./pick.js";
import { go, note, to } from "./route.js";
import { store } from "./store.js";
import { length, maybe, t } from "./text.js";
import { tell } from "./toast.js";

const FACTS = ["style", "seed", "steps", "guidance_scale", "temperature", "strength", "fps", "negative"];

export function compare(box, { rest }) {
  const ids = [rest[0] ?? null, rest[1] ?? null];
  const films = [];
  const stage = h(".compare");
  const table = h("table.differences");
  const slider = h("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": t("compare.time") });
  const play = button(".main", "play", t("play"), () => (films[0]?.paused ? start() : stop()));
  let gone = false;

  function start() {
    for (const film of films) film.play().catch(() => {});
    play.lastChild.textContent = t("pause");
  }
  function stop() {
    for (const film of films) film.pause();
    play.lastChild.textContent = t("play");
  }
  slider.addEventListener("input", () => {
    stop();
    for (const film of films) film.currentTime = (slider.value / 1000) * film.duration;
  });

  async function show() {
    films.length = 0;
    try {
      const clips = await Promise.all(ids.map((id) => (id ? store.clip(id) : null)));
      if (gone) return;
      fill(stage, clips.map((clip, index) => side(clip, index)));
      await differences(clips);
      start();
    } catch (failure) {
      fill(stage, empty("compare", t("gone"), failure.message, h("a.button", { href: to("gallery") }, t("place.gallery"))));
    }
  }
  function side(clip, index) {
    const choose = button(".tight", "clips", t(clip ? "compare.other" : "slot.choose.clip"), () =>
      pickClip("clip", (id) => {
        ids[index] = id;
        note("compare", ids.map((one) => one ?? ""), "");
        show();
      }, (failure) => tell(failure.message)));
    if (!clip) return h("figure.compare-side", {}, h(".compare-none", {}, choose));
    const film = h("video", { muted: true, loop: true, playsInline: true, "aria-label": clip.prompt });
    shown(`v1/videos/${clip.id}/content`).then((url) => (film.src = url));
    if (!films.length) film.addEventListener("timeupdate", () => film.duration && (slider.value = (1000 * film.currentTime) / film.duration));
    films.push(film);
    return h("figure.compare-side", {}, film, h("figcaption", {}, h("button.as-link", { type: "button", onclick: () => go("video", [clip.id]) }, clip.prompt || t("untitled")),
      h("p.small.soft", {}, [maybe(`task.${clip.task}`, clip.task), length(clip.seconds), clip.size.replace("x", " × ")].join(" · ")), choose));
  }
  async function differences(clips) {
    if (clips.some((clip) => !clip)) return fill(table);
    const [one, two] = await Promise.all(clips.map((clip) => get(`v1/videos/${clip.id}/request`).then((answer) => answer.fields)));
    const rows = FACTS.filter((name) => (one[name] ?? "") !== (two[name] ?? "")).map((name) =>
      h("tr", {}, h("th", { scope: "row" }, maybe(`option.${name}`, t(name))), [one, two].map((fields) => h("td", {}, String(fields[name] ?? "–")))));
    fill(table, rows.length > 0 && [h("caption", {}, t("compare.differ")), h("tbody", {}, rows)]);
  }
  box.append(h(".head", {}, h("h1", {}, t("compare.title"))), stage, h(".row.compare-tools", {}, play, h(".grow", {}, slider)), table);
  show();
  return () => (gone = true);
}
