// A video that is being made: preview, progress, time left, stop.
import { get, send, shown } from "./api.js";
import { button, fill, h, icon, round } from "./dom.js";
import { fromFields, toAddress } from "./form.js";
import { again } from "./play.js";
import { go } from "./route.js";
import { store } from "./store.js";
import { about, t } from "./text.js";
import { tell } from "./toast.js";

/** Ends a video. */
export async function stop(id) {
  try {
    await send("POST", `v1/videos/${id}/cancel`);
  } catch (failure) {
    if (failure.status !== 409) tell(failure.message);
  }
  store.poll(0);
}

/** Opens the settings of a video, to make another; change: it replaces this one. */
export async function reuse(id, change = false) {
  try {
    const { fields } = await get(`v1/videos/${id}/request`);
    if (fields.play) return go("play", [], again(fields));
    const form = fromFields(fields);
    if (change) form.change = id;
    go(form.task === "storyboard" ? "board" : "make", [], toAddress(form));
  } catch (failure) {
    tell(failure.message);
  }
}

export async function retry(id) {
  try {
    store.add(await send("POST", `v1/videos/${id}/retry`));
  } catch (failure) {
    tell(failure.message);
  }
}

/** The preview of a video in progress, which changes as it denoises. */
export function preview(id) {
  const box = h(".preview", {}, icon("make"));
  let number = null;
  return {
    box,
    async show(entry) {
      if (!entry.preview || entry.preview === number) return;
      number = entry.preview;
      const url = await shown(`v1/videos/${id}/preview?number=${number}`).catch(() => null);
      if (!url) return;
      const image = h("img", { alt: "", src: url });
      try {
        await image.decode();
        fill(box, image);
      } catch {
        // it is finished, and its preview is gone
      }
    },
  };
}

/** What is said of the time of an entry of the queue. */
export function timing(entry) {
  if (entry.status === "in_progress") return entry.seconds_left === null ? t("job.making") : t("job.left", { time: about(entry.seconds_left) });
  if (entry.starts_in === null || entry.starts_in === undefined) return t("job.queued");
  return entry.starts_in ? t("job.starts", { time: about(entry.starts_in) }) : t("job.next");
}

/** A card of a video that is queued or in progress; `show(entry)` updates it. */
export function jobCard(entry) {
  const picture = preview(entry.id);
  const bar = h("span");
  const line = h(".bar", { role: "progressbar", "aria-label": t("job.progress"), "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const time = h("span.small.soft.grow");
  const box = h("article.job", { "data-id": entry.id },
    picture.box,
    h(".job-text", {},
      h("p.job-prompt", {}, entry.prompt || t("untitled")),
      line,
      h(".row", {}, time, button(".tight.plain", "stop", t("stop"), () => stop(entry.id))),
    ),
  );
  function show(now) {
    const running = now.status === "in_progress";
    line.classList.toggle("waiting", running && !now.progress);
    bar.style.width = running && !now.progress ? "" : `${now.progress}%`;
    line.setAttribute("aria-valuenow", now.progress);
    time.textContent = timing(now);
    picture.show(now);
  }
  show(entry);
  return { box, show };
}

/** A video that failed. */
export function failedCard(clip, dismiss) {
  const cancelled = clip.error?.code === "cancelled";
  return h("article.job.failed", { "data-id": clip.id },
    h(".job-text", {},
      h("p.job-prompt", {}, clip.prompt || t("untitled")),
      h(cancelled ? "p.small.soft" : "p.small.error", {}, cancelled ? t("job.stopped") : clip.error?.message ?? t("job.failed")),
      h(".row.wrap", {},
        button(".tight", "again", t("retry"), () => retry(clip.id)),
        button(".tight.plain", null, t("change"), () => reuse(clip.id)),
        h("span.grow"),
        round("close", t("dismiss"), () => dismiss(clip.id)),
      ),
    ),
  );
}
