// A clip as a card: a still that plays while the pointer or the focus is on it.
import { shown } from "./api.js";
import { h, icon, round } from "./dom.js";
import { to } from "./route.js";
import { store } from "./store.js";
import { length, t } from "./text.js";
import { tell, undoable } from "./toast.js";

/** A picture of the server in an element, once it is near the screen. */
export function still(id, variant = "thumbnail") {
  const image = h("img", { alt: "", loading: "lazy", decoding: "async", draggable: false });
  near(image, () => shown(`v1/videos/${id}/content?variant=${variant}`).then((url) => (image.src = url), () => {}));
  return image;
}

const waiting = new WeakMap();
const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      waiting.get(entry.target)?.();
    }
  },
  { rootMargin: "600px" },
);

function near(element, work) {
  waiting.set(element, work);
  observer.observe(element);
}

/** Marks a clip, or takes its mark away. */
export async function toggleFavourite(id) {
  const on = !store.favourites.has(id);
  try {
    await store.mark(id, on);
  } catch (failure) {
    tell(failure.message);
  }
}

/** Deletes a clip, which can be undone for a while. */
export function remove(id) {
  undoable(t("deleted"), store.remove(id));
}

/** A card. actions: whether it has buttons; pick: called instead of opening the clip. */
export function card(clip, { actions = true, pick = null } = {}) {
  const frame = h(".card-frame", {}, still(clip.id), h("span.card-length", {}, length(clip.seconds)));
  let film = null;
  const play = async () => {
    if (film) return;
    const mine = (film = h("video", { muted: true, loop: true, playsInline: true, tabIndex: -1, "aria-hidden": "true" }));
    const url = await shown(`v1/videos/${clip.id}/content`).catch(() => null);
    if (film !== mine || !url) return;
    mine.src = url;
    frame.append(mine);
    mine.play().catch(() => {});
  };
  const stop = () => {
    film?.remove();
    film = null;
  };
  const title = clip.prompt || t("untitled");
  const inner = [frame, h("span.card-prompt", {}, title)];
  const open = pick
    ? h("button.card-open", { type: "button", onclick: () => pick(clip) }, inner)
    : h("a.card-open", { href: to("video", [clip.id]) }, inner);
  const box = h("article.card", { "data-id": clip.id, draggable: true }, open);
  for (const name of ["pointerenter", "focusin"]) box.addEventListener(name, play);
  for (const name of ["pointerleave", "focusout"]) box.addEventListener(name, stop);
  box.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", clip.id));
  if (!actions) return box;
  const marked = store.favourites.has(clip.id);
  const star = round("star", t(marked ? "unmark" : "mark"), () => toggleFavourite(clip.id), { "aria-pressed": String(marked) });
  box.append(h(".card-tools", {}, star, round("bin", t("delete"), () => remove(clip.id))));
  box.addEventListener("keydown", (event) => {
    if (event.key === "f" || event.key === "F") toggleFavourite(clip.id);
    if (event.key === "Delete") remove(clip.id);
  });
  return box;
}

/** Cards that move the focus by the arrow keys. */
export function grid(label, cards) {
  const box = h("ul.grid", { "aria-label": label }, cards.map((one) => h("li", {}, one)));
  box.addEventListener("keydown", (event) => {
    const columns = getComputedStyle(box).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!step || !event.target.matches(".card-open")) return;
    const all = [...box.querySelectorAll(".card-open")];
    const next = all[all.indexOf(event.target) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });
  return box;
}

/** Nothing to show. */
export function empty(name, title, text, action = null) {
  return h(".empty", {}, icon(name), h("h2", {}, title), h("p", {}, text), action);
}
