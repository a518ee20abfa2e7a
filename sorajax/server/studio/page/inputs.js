// The inputs of a task: slots for pictures and clips, and its options.
import { button, fill, h, icon, round } from "./dom.js";
import { optionsOf, taskOf } from "./form.js";
import { painter } from "./mask.js";
import { filmOf, mediaOf, seek } from "./media.js";
import { pickClip, takeFile } from "./pick.js";
import { store } from "./store.js";
import { strip } from "./strip.js";
import { maybe, t } from "./text.js";

/** The slots of a task. `changed(what)` is called after a change; "input" means that a slot has another content. */
export function inputsOf(form, changed) {
  const task = taskOf(form);
  const slots = task.inputs.map((kind, index) => slot(form, kind, index, changed));
  return h(`.slots.of-${task.inputs.length}`, {}, slots);
}

function slot(form, kind, index, changed) {
  const task = taskOf(form);
  const label = maybe(`slot.${task.name}.${index}`, t(`slot.${kind}`));
  const error = h("p.small.error", { hidden: true, role: "alert" });
  const body = h(".slot-body");
  const box = h(".slot", { role: "group", "aria-label": label }, h("span.slot-label", {}, label), body, error);

  function failed(failure) {
    error.hidden = false;
    error.textContent = failure.message;
    box.classList.remove("busy");
  }
  function put(name) {
    error.hidden = true;
    box.classList.remove("busy");
    const other = Boolean(form.inputs[index]);
    form.inputs[index] = name;
    if (index === 0 && other) for (const option of ["trim", "gap", "mask"]) delete form.options[option];
    show();
    changed("input");
  }
  async function show() {
    const name = form.inputs[index];
    if (!name) {
      fill(body, h("button.slot-empty", { type: "button", onclick: () => pickClip(kind, put, failed) },
        icon(kind === "picture" ? "image" : "clips"), h("span", {}, t(`slot.choose.${kind}`)), h("span.small.soft", {}, t("slot.drop"))));
      return;
    }
    fill(body, h(".slot-full.loading"));
    try {
      const { element, moving } = await mediaOf(name);
      if (form.inputs[index] !== name) return;
      if (moving && element.tagName === "VIDEO") {
        element.addEventListener("error", () => failed({ message: t("error.film") }));
        element.autoplay = kind === "clip";
      }
      fill(body, h(".slot-full", {}, element, round("close", t("slot.clear", { label }), () => put(null))));
    } catch (failure) {
      fill(body, h(".slot-full.loading", {}, round("close", t("slot.clear", { label }), () => put(null))));
      failed(failure);
    }
  }

  box.addEventListener("dragover", (event) => (event.preventDefault(), event.stopPropagation(), box.classList.add("over")));
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    box.classList.remove("over");
    const [file] = event.dataTransfer.files;
    const id = event.dataTransfer.getData("text/plain");
    if (file) {
      box.classList.add("busy");
      await takeFile(file, put, failed);
    } else if (store.clips.has(id)) put(id);
  });
  show();
  return box;
}

/** The options of a task, in the order of the table. Those that this page does not know are plain fields. */
export function optionsBox(form, changed) {
  const task = taskOf(form);
  const box = h(".options");
  const names = optionsOf(task);
  if (!names.length) return { box, refresh: () => {} };
  const parts = {
    trim: () => (task.name === "extend" || task.name === "edit" || task.trims) && film("trim"),
    gap: () => film("gap"),
    direction: () => null, // the ends of the strip
    mask: () => maskPart(),
    strength: () => strengthPart(),
  };
  let current = null;

  function failed(failure) {
    box.append(h("p.small.error", { role: "alert" }, failure.message));
  }

  async function film(kind) {
    const name = form.inputs[0];
    if (!name) return null;
    const line = await strip(name, {
      kind,
      span: form.options[kind],
      added: kind === "trim" && "direction" in task.options ? ends(form, changed) : null,
      change: (span) => {
        form.options[kind] = span ?? undefined;
        changed("option");
      },
    });
    if (line && kind === "gap" && !form.options.gap) {
      const third = line.whole / 3;
      line.set(0, third);
      line.set(1, 2 * third);
    }
    return line && [h("h2.options-title", {}, t(`option.${kind}`)), line.box];
  }

  function strengthPart() {
    const said = h("output.small.soft");
    const slider = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: form.options.strength ?? task.options.strength, "aria-label": t("option.strength") });
    const show = () => {
      said.textContent = `${Math.round(slider.value * 100)} %`;
      slider.setAttribute("aria-valuetext", said.textContent);
    };
    slider.addEventListener("input", () => {
      form.options.strength = Number(slider.value);
      show();
      changed("option");
    });
    show();
    return h(".option-strength", {}, h(".row", {}, h("h2.options-title.grow", {}, t("option.strength")), said), slider,
      h(".row.small.soft", {}, h("span.grow", {}, t("strength.low")), h("span", {}, t("strength.high"))));
  }

  function maskPart() {
    const holder = h(".option-mask");
    const open = async () => {
      const film = form.inputs[0] && (await filmOf(form.inputs[0]).catch(() => null));
      if (!film) return;
      await seek(film, Number((form.options.trim ?? "0").split(":")[0]) + 0.01);
      fill(holder, h("h2.options-title", {}, t("option.mask")), painter(film, (id) => {
        form.options.mask = id ?? undefined;
        changed("option");
      }, failed));
    };
    const name = form.options.mask;
    if (form.inputs[0]) {
      fill(holder, h(".row.wrap", {}, h("h2.options-title", {}, t("option.mask")), h("span.small.soft.grow", {}, t(name ? "mask.is" : "mask.none")),
        button(".tight", "edit", t(name ? "mask.new" : "mask.open"), open)));
    }
    return holder;
  }

  function plain(name) {
    const initial = task.options[name];
    const choices = store.about.choices[name];
    const put = (value) => {
      form.options[name] = value === "" ? undefined : value;
      changed("option");
    };
    const value = form.options[name] ?? initial ?? "";
    const label = maybe(`option.${name}`, name);
    if (choices) {
      return h("label.field", {}, label, h("select", { onchange: (event) => put(event.target.value) },
        choices.map((one) => h("option", { value: one, selected: one === value }, maybe(`${name}.${one}`, one)))));
    }
    const number = typeof initial === "number";
    return h("label.field", {}, label, h("input", {
      type: number ? "number" : "text", step: "any", value, oninput: (event) => put(number && event.target.value ? Number(event.target.value) : event.target.value),
    }));
  }

  async function refresh() {
    const mine = (current = {});
    const order = ["trim", "gap", "strength", "mask"].filter((name) => names.includes(name));
    const others = names.filter((name) => !(name in parts));
    const made = [];
    for (const name of [...order, ...others]) {
      try {
        made.push(await (parts[name] ?? (() => plain(name)))());
      } catch {
        made.push(h("p.small.error", { role: "alert" }, t("error.film")));
      }
      if (current !== mine) return;
    }
    fill(box, made);
  }
  refresh();
  return { box, refresh };
}

/** The new parts of an extension, at the ends of the strip: direction and seconds. */
function ends(form, changed) {
  const usual = () => form.seconds ?? (form.frames ?? store.about.model.frames[0]) / (form.fps ?? store.about.model.fps);
  const direction = () => form.options.direction ?? "forward";
  const has = { before: () => direction() !== "forward", after: () => direction() !== "backward" };
  const grow = (side, seconds) => {
    const other = side === "before" ? "after" : "before";
    const on = seconds > 0;
    if (on && !has[side]()) form.options.direction = "both";
    if (!on && has[other]()) form.options.direction = other === "after" ? "forward" : "backward";
    if (on) {
      form.seconds = Number(seconds.toFixed(3));
      delete form.frames;
    }
    changed("seconds");
  };
  return { before: () => (has.before() ? usual() : 0), after: () => (has.after() ? usual() : 0), grow };
}

