// A film strip: frames of a clip in a row, and handles that mark a part of it.
import { h } from "./dom.js";
import { drawn, filmOf, seek } from "./media.js";
import { store } from "./store.js";
import { length, t } from "./text.js";

const FRAMES = 10;

/** A span as the API writes it, "FROM:TO" in seconds. */
export const asSpan = ([from, to]) => `${+from.toFixed(3)}:${+to.toFixed(3)}`;

/** Seconds of a span. */
export function parseSpan(text, whole) {
  const [from, to] = (text ?? "").split(":").map((part) => (part === "" ? NaN : Number(part)));
  return [Number.isFinite(from) ? from : 0, Number.isFinite(to) ? Math.min(to, whole) : whole];
}

/**
 * The strip of a clip.
 * kind "trim": what is kept; "gap": what is made anew. change(span or null): the whole clip is null.
 * added: {before, after} in seconds, with `grow(side, seconds)`: handles for new parts at the ends.
 */
export async function strip(reference, { kind, span, change, added = null }) {
  const film = await filmOf(reference);
  if (!film) return null;
  const whole = film.duration;
  const frame = 1 / store.about.model.fps;
  let [from, to] = parseSpan(span, whole);
  const pictures = h(".strip-frames", { "aria-hidden": "true" });
  const shade = [h(".strip-shade"), h(".strip-shade")];
  const middle = h(".strip-middle");
  const handles = ["from", "to"].map((name) => handle(t(`strip.${kind}.${name}`)));
  const track = h(".strip-track", {}, pictures, shade, middle, handles);
  const said = h("p.small.soft.strip-said");
  const ends = added && { before: grower("before"), after: grower("after") };
  const box = h(`.strip.strip-${kind}`, {}, h(".strip-line", {}, ends?.before.box, track, ends?.after.box), said);

  function handle(label) {
    return h("div.strip-handle", { role: "slider", tabIndex: 0, "aria-label": label, "aria-valuemin": 0, "aria-valuemax": +whole.toFixed(3) });
  }

  function set(index, seconds, done = true) {
    const snapped = Math.round(seconds / frame) * frame;
    if (index === 0) from = Math.min(Math.max(0, snapped), to - frame);
    else to = Math.max(Math.min(whole, snapped), from + frame);
    show();
    if (done) change(from < frame / 2 && to > whole - frame / 2 && kind === "trim" ? null : asSpan([from, to]));
  }

  function show() {
    const [left, right] = [(100 * from) / whole, (100 * to) / whole];
    handles[0].style.left = `${left}%`;
    handles[1].style.left = `${right}%`;
    shade[0].style.width = `${left}%`;
    shade[1].style.left = `${right}%`;
    middle.style.left = `${left}%`;
    middle.style.width = `${right - left}%`;
    [from, to].forEach((value, index) => {
      handles[index].setAttribute("aria-valuenow", +value.toFixed(3));
      handles[index].setAttribute("aria-valuetext", length(value));
    });
    said.textContent = t(`strip.${kind}.said`, { from: length(from), to: length(to), whole: length(to - from) });
    if (ends) for (const side of ["before", "after"]) ends[side].show();
  }

  handles.forEach((element, index) => {
    const value = () => [from, to][index];
    drag(element, track, (x) => set(index, x * whole, false), () => set(index, value()));
    element.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -frame, ArrowRight: frame, ArrowDown: -frame, ArrowUp: frame, PageUp: 1, PageDown: -1 }[event.key];
      const edge = { Home: 0, End: whole }[event.key];
      if (step === undefined && edge === undefined) return;
      event.preventDefault();
      set(index, edge ?? value() + step);
    });
  });

  function grower(side) {
    const knob = handle(t(`strip.grow.${side}`));
    knob.setAttribute("aria-valuemax", store.about.limits.seconds);
    const label = h("span", {});
    const part = h(`.strip-new.strip-${side}`, {}, label, knob);
    const value = () => added[side]();
    const put = (seconds) => {
      added.grow(side, Math.max(0, Math.round(seconds / (4 * frame)) * 4 * frame));
      show();
    };
    let begun = null;
    knob.addEventListener("pointerdown", (event) => {
      begun = { x: event.clientX, seconds: value(), per: whole / track.clientWidth };
      knob.setPointerCapture(event.pointerId);
      event.preventDefault();
      knob.focus();
    });
    knob.addEventListener("pointermove", (event) => {
      if (begun) put(begun.seconds + (event.clientX - begun.x) * begun.per * (side === "after" ? 1 : -1));
    });
    for (const name of ["pointerup", "pointercancel"]) knob.addEventListener(name, () => (begun = null));
    knob.addEventListener("keydown", (event) => {
      const sign = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!sign) return;
      event.preventDefault();
      put(value() + sign * (side === "after" || event.key.endsWith("Up") || event.key.endsWith("Down") ? 1 : -1) * 4 * frame);
    });
    return {
      box: part,
      show() {
        const seconds = value();
        const share = Math.min(1, seconds / whole);
        part.style.flexGrow = share;
        part.classList.toggle("none", !seconds);
        label.textContent = seconds ? `+${length(seconds)}` : "";
        knob.setAttribute("aria-valuenow", +seconds.toFixed(3));
        knob.setAttribute("aria-valuetext", length(seconds));
      },
    };
  }

  show();
  draw(film, pictures);
  return { box, film, set: (index, seconds) => set(index, seconds), refresh: show, whole, span: () => [from, to] };
}

async function draw(film, box) {
  for (let index = 0; index < FRAMES; index++) {
    await seek(film, ((index + 0.5) * film.duration) / FRAMES);
    box.append(drawn(film, Math.min(160, film.videoWidth)));
  }
}

/** Calls `move` with the share of the track, 0 to 1, that the pointer is at. */
function drag(element, track, move, done) {
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    event.preventDefault();
    element.focus();
    const moved = (one) => {
      const box = track.getBoundingClientRect();
      move(Math.min(1, Math.max(0, (one.clientX - box.left) / box.width)));
    };
    const ended = () => {
      element.removeEventListener("pointermove", moved);
      done();
    };
    element.addEventListener("pointermove", moved);
    element.addEventListener("pointerup", ended, { once: true });
  });
}
