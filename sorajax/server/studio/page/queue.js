// The queue: what is being made and what waits, in order, with its cost in time.
import { send } from "./api.js";
import { empty } from "./card.js";
import { button, fill, h, round } from "./dom.js";
import { failedCard, preview, reuse, stop, timing } from "./job.js";
import { to } from "./route.js";
import { grip } from "./sortable.js";
import { store } from "./store.js";
import { about, length, maybe, t } from "./text.js";
import { announce, tell } from "./toast.js";

const dismissed = new Set();

export function queue(box) {
  const list = h("ol.queue", { "aria-label": t("place.queue") });
  const whole = h("p.soft");
  const none = h("div");
  const failed = h("section.queue-failed", { "aria-label": t("queue.failed") });
  const rows = new Map();
  let sorting = false;

  const waiting = () => store.queue.filter((entry) => entry.status === "queued");

  async function move(id, by) {
    const ids = waiting().map((entry) => entry.id);
    const from = ids.indexOf(id);
    if (from < 0) return;
    ids.splice(Math.max(0, from + by), 0, ...ids.splice(from, 1));
    const running = store.queue.filter((entry) => entry.status !== "queued");
    store.queue = [...running, ...ids.map((one) => store.queue.find((entry) => entry.id === one))];
    show();
    rows.get(id)?.box.querySelector(".grip")?.focus();
    announce(t("queue.moved", { place: ids.indexOf(id) + 1 }));
    sorting = true;
    try {
      store.queue = (await send("POST", "v1/queue", { ids: ids.slice(0, 1000) })).data;
    } catch (failure) {
      tell(failure.message);
    } finally {
      sorting = false;
      show();
    }
  }

  function row(entry) {
    const picture = preview(entry.id);
    const bar = h("span");
    const line = h(".bar", { role: "progressbar", "aria-label": t("job.progress"), "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
    const time = h("span.queue-time");
    const item = h("li.queue-row", { "data-id": entry.id });
    const place = () => waiting().findIndex((one) => one.id === entry.id);
    const knob = grip(t("queue.grip", { prompt: entry.prompt }), item, "y", { place, count: () => waiting().length, move: (by) => move(entry.id, by) });
    const tools = h(".row.queue-tools");
    item.append(knob, picture.box, h(".queue-text", {},
      h("p.job-prompt", {}, entry.prompt || t("untitled")),
      h("p.small.soft", {}, [maybe(`task.${entry.task}`, entry.task), length(entry.seconds), entry.size.replace("x", " × ")].join(" · ")),
      line,
    ), time, tools);
    let state = "";
    function show(now) {
      const running = now.status === "in_progress";
      if (now.status !== state) {
        state = now.status;
        item.toggleAttribute("data-sort", !running);
        knob.hidden = running;
        line.hidden = !running;
        fill(tools,
          !running && round("up", t("queue.up"), () => move(entry.id, -1)),
          !running && round("lower", t("queue.down"), () => move(entry.id, 1)),
          !running && button(".tight.plain", null, t("change"), () => reuse(entry.id, true)),
          button(".tight.plain", running ? "stop" : "close", t(running ? "stop" : "cancel"), () => stop(entry.id)),
        );
      }
      line.classList.toggle("waiting", running && !now.progress);
      bar.style.width = running && !now.progress ? "" : `${now.progress}%`;
      line.setAttribute("aria-valuenow", now.progress);
      fill(time, h("span", {}, timing(now)), !running && now.seconds_left !== null && h("span.small.soft", {}, t("queue.costs", { time: about(now.seconds_left) })));
      picture.show(now);
    }
    show(entry);
    return { box: item, show };
  }

  function show() {
    if (sorting || list.querySelector(".dragged")) return;
    const entries = store.queue;
    const items = entries.map((entry) => {
      if (!rows.has(entry.id)) rows.set(entry.id, row(entry));
      rows.get(entry.id).show(entry);
      return rows.get(entry.id).box;
    });
    const now = [...list.children];
    if (now.length !== items.length || items.some((item, index) => item !== now[index])) fill(list, items);
    const known = entries.every((entry) => entry.seconds_left !== null);
    const total = entries.reduce((sum, entry) => sum + (entry.seconds_left ?? 0), 0);
    whole.textContent = !entries.length ? "" : known ? t("queue.whole", { n: entries.length, time: about(total) }) : t("queue.some", { n: entries.length });
    fill(none, !entries.length && empty("queue", t("queue.empty"), t("queue.empty.about"), h("a.button.main", { href: to("make") }, t("place.make"))));
    const ended = store.listed().filter((clip) => clip.status === "failed" && !dismissed.has(clip.id)).slice(0, 12);
    const state = ended.map((clip) => clip.id).join();
    if (failed.dataset.state !== state) {
      failed.dataset.state = state;
      fill(failed, ended.length > 0 && [h("h2", {}, t("queue.failed")), h(".queue-ended", {}, ended.map((clip) => failedCard(clip, (id) => (dismissed.add(id), show()))))]);
    }
  }
  box.append(h(".head", {}, h("h1", {}, t("place.queue")), whole), list, none, failed);
  show();
  for (const name of ["queue", "clips"]) store.addEventListener(name, show);
  return () => ["queue", "clips"].forEach((name) => store.removeEventListener(name, show));
}
