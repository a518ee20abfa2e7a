// Short messages at the edge of the page, and what screen readers are told.
import { h } from "./dom.js";
import { t } from "./text.js";

const SECONDS = 8;
export const toasts = h(".toasts", { role: "status" });
export const live = h(".unseen", { "aria-live": "polite" });

/** Tells screen readers something that the page shows by other means. */
export function announce(text) {
  live.textContent = text;
}

/** Shows a message. */
export function tell(text, action = null) {
  const toast = h(".toast", {}, h("span.grow", {}, text), action);
  toasts.append(toast);
  const timer = setTimeout(() => toast.remove(), SECONDS * 1000);
  return () => (clearTimeout(timer), toast.remove());
}

const pending = new Set();

/** Shows what was done, with a button that undoes it. `finish` runs when the message goes, or when the page is left. */
export function undoable(text, { undo, finish }) {
  const done = async () => {
    if (!pending.delete(done)) return;
    clearTimeout(timer);
    close();
    try {
      await finish();
    } catch (failure) {
      tell(failure.message);
    }
  };
  const back = () => {
    pending.delete(done);
    clearTimeout(timer);
    close();
    undo();
  };
  const close = tell(text, h("button", { type: "button", onclick: back }, t("undo")));
  const timer = setTimeout(done, SECONDS * 1000);
  pending.add(done);
}

addEventListener("pagehide", () => [...pending].forEach((done) => done()));
