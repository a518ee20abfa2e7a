// The settings of a request as pills, and the rarer ones behind a button.
import { fill, h, icon } from "./dom.js";
import { taskOf } from "./form.js";
import { store } from "./store.js";
import { length, t } from "./text.js";

const LENGTHS = [1, 2, 4, 8, 15, 30, 60, 120];
const RATES = [8, 12, 16, 24, 30];
const OTHER = "other";

/** A pill with a choice; `put` gets the chosen value. */
export function pill(label, value, choices, put, extra = null) {
  const known = choices.some(([one]) => String(one) === String(value));
  const all = known ? choices : [...choices, [value, String(value)]];
  const select = h("select", { "aria-label": label, onchange: () => put(select.value) },
    all.map(([one, text]) => h("option", { value: one, selected: String(one) === String(value) }, text)));
  return h("span.pill", { title: label }, extra, select);
}

/** A pill with a number. */
export function numberPill(label, value, put, more = {}) {
  const input = h("input", { type: "number", value: value ?? "", "aria-label": label, ...more, oninput: () => put(input.value === "" ? undefined : Number(input.value)) });
  return h("label.pill.number", { title: label }, h("span", {}, label), input);
}

/** The settings that most requests need. last: an element after them. */
export function pills(form, changed, { lengths = true, variations = true, last = null } = {}) {
  const { model, styles } = store.about;
  const task = taskOf(form);
  const box = h(".pills");
  const open = new Set();
  function show() {
    const parts = [
      pill(t("style"), form.style ?? "", [["", t("style.none")], ...styles.map((name) => [name, name[0].toUpperCase() + name.slice(1)]), [OTHER, t("other")]], (value) => own("style", value)),
      open.has("style") && freeText("style"),
      pill(t("size"), form.size ?? "", [["", model.sizes[0].replace("x", " × ")], ...model.sizes.slice(1).map((size) => [size, size.replace("x", " × ")]), [OTHER, t("other")]], (value) => own("size", value)),
      open.has("size") && freeText("size", "128x96"),
      lengths && !task.own_length && lengthPill(),
      open.has("seconds") && numberPill(t("length"), form.seconds, (value) => put("seconds", value), { min: 0, step: "any" }),
      variations && pill(t("variations"), form.variations, [1, 2, 3, 4, 6, 8].map((n) => [n, t(n === 1 ? "variations.one" : "variations.many", { n })]), (value) => put("variations", Number(value))),
    ];
    fill(box, parts, last);
  }
  function put(name, value) {
    form[name] = value === "" ? undefined : value;
    changed(name);
  }
  function own(name, value) {
    if (value === OTHER) open.add(name);
    else open.delete(name);
    put(name, value === OTHER ? undefined : value);
    show();
    if (value === OTHER) box.querySelector(".own")?.focus();
  }
  function freeText(name, example = "") {
    return h("label.pill.number", {}, h("input.own", { value: form[name] ?? "", placeholder: example || t(name), "aria-label": t(name), oninput: (event) => put(name, event.target.value) }));
  }
  function lengthPill() {
    const rate = form.fps ?? model.fps;
    const trained = model.frames.filter((count) => count > 1).map((count) => count / rate);
    const chosen = form.seconds ?? (form.frames ?? model.frames[0]) / rate;
    const all = [...new Set([...trained, ...(open.has("seconds") || form.frames === 1 ? [] : [chosen]), ...LENGTHS.filter((seconds) => !trained.some((one) => Math.abs(one - seconds) < 0.3))])].sort((a, b) => a - b);
    const choices = all.filter((seconds) => seconds <= store.about.limits.seconds).map((seconds) => [seconds, length(seconds)]);
    const added = { extend: "length.added", connect: "length.bridge" }[task.name];
    const label = t(added ?? "length");
    const value = form.frames === 1 ? "still" : chosen;
    const still = task.plans_length && model.frames.includes(1) ? [["still", t("length.still")]] : [];
    return pill(label, value, [...choices, ...still, [OTHER, t("other")]].map(([one, text]) => [one, added && typeof one === "number" ? `+${text}` : text]), (picked) => {
      delete form.frames;
      if (picked === "still") {
        form.frames = 1;
        delete form.seconds;
        open.delete("seconds");
        changed("frames");
        show();
      } else own("seconds", picked === OTHER ? picked : Number(picked));
    });
  }
  show();
  return { box, show };
}

/** The rarer settings, as fields. */
export function fields(form, changed) {
  const { model, limits, choices } = store.about;
  const put = (name) => (event) => {
    const { value, type } = event.target;
    form[name] = value === "" ? undefined : type === "number" ? Number(value) : value;
    changed(name);
  };
  const number = (name, placeholder, more = {}) =>
    h("label.field", {}, t(name), h("input", { type: "number", step: "any", value: form[name] ?? "", placeholder, oninput: put(name), "data-name": name, ...more }));
  return h(".fields", {},
    number("seed", t("seed.any"), { min: 0, max: limits.seed, step: 1 }),
    number("steps", model.steps, { min: 1, max: limits.steps, step: 1 }),
    h("label.field", {}, t("fps"), h("select", { onchange: (event) => ((form.fps = event.target.value ? Number(event.target.value) : undefined), changed("fps")), "data-name": "fps" },
      h("option", { value: "" }, t("fps.said", { n: model.fps })),
      [...new Set([...RATES, ...(form.fps ? [form.fps] : [])])].filter((rate) => rate !== model.fps).map((rate) => h("option", { value: rate, selected: rate === form.fps }, t("fps.said", { n: rate }))))),
    number("guidance_scale", model.guidance_scale, { min: 0 }),
    number("temperature", model.temperature, { min: 0 }),
    number("shift", model.shift, { min: 0 }),
    h("label.field", {}, t("sampler"), h("select", { onchange: put("sampler"), "data-name": "sampler" },
      h("option", { value: "" }, model.sampler),
      choices.sampler.filter((name) => name !== model.sampler && name !== "flow_map").map((name) => h("option", { value: name, selected: name === form.sampler }, name)))),
    h("label.field.wide", {}, t("negative"), h("input", { value: form.negative ?? "", oninput: put("negative"), "data-name": "negative" })),
  );
}

/** A button that shows and hides the rarer settings. */
export function moreButton(form, changed) {
  const set = ["seed", "steps", "fps", "guidance_scale", "temperature", "shift", "sampler", "negative"].some((name) => form[name] !== undefined && form[name] !== "");
  const box = h(".more", { hidden: !set, id: "more-settings" }, fields(form, changed));
  const toggle = h("button.pill.number.more-toggle", { type: "button", "aria-expanded": String(set), "aria-controls": "more-settings", onclick: () => {
    box.hidden = !box.hidden;
    toggle.setAttribute("aria-expanded", String(!box.hidden));
  } }, icon("more"), t("more"));
  return { box, toggle };
}
