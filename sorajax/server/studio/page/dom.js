// Elements. Strings become text nodes: nothing that a user or the server wrote is read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: "button.main", its properties and listeners, its children (elements, text, or nothing). */
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name in element && !name.startsWith("aria") && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Puts new children into an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

const PATHS = {
  make: ["M12 3.5l1.9 5.1a2.6 2.6 0 0 0 1.5 1.5l5.1 1.9-5.1 1.9a2.6 2.6 0 0 0-1.5 1.5L12 20.5l-1.9-5.1a2.6 2.6 0 0 0-1.5-1.5L3.5 12l5.1-1.9a2.6 2.6 0 0 0 1.5-1.5z"],
  clips: ["M4 4h7v7H4z", "M13.5 4H20v7h-6.500z", "M4 13.500h7V20H4z", "M13.5 13.500H20V20h-6.500z"],
  board: ["M3.5 6.500h7v11h-7z", "M13.5 6.500h7v11h-7z", "M10.5 12h3"],
  queue: ["M4 7h16", "M4 12h16", "M4 17h10"],
  text: ["M5 6h14", "M5 11h14", "M5 16h8"],
  image: ["M4 5h16v14H4z", "M4 16l4.5-4.5 3.5 3.5 3-3 5 4.5", "M15.5 9h.01"],
  extend: ["M3.5 6.500h9v11h-9z", "M15.5 12h6", "M18.5 9l3 3-3 3"],
  between: ["M4 7v10", "M20 7v10", "M8 12h8", "M13.5 9.500L16 12l-2.5 2.5"],
  connect: ["M3.5 7.500h5.500v9H3.500z", "M15 7.500h5.500v9H15z", "M9 12h6"],
  fill: ["M3.5 7h5v10h-5z", "M15.5 7h5v10h-5z", "M12 8.500v1", "M12 11.500v1", "M12 14.500v1"],
  loop: ["M17.5 4.500l3 3-3 3", "M20.5 7.500H8a4.5 4.5 0 0 0-4.5 4.5", "M6.5 19.500l-3-3 3-3", "M3.5 16.500H16a4.5 4.5 0 0 0 4.5-4.5"],
  edit: ["M14.5 5.500l4 4", "M4.5 19.500l1-4.500L16 4.500a1.8 1.8 0 0 1 2.6 0l.9.9a1.8 1.8 0 0 1 0 2.600L9 18.500z"],
  blend: ["M9 12m-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0", "M15 12m-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0"],
  storyboard: ["M3.5 6.500h7v11h-7z", "M13.5 6.500h7v11h-7z", "M10.5 12h3"],
  star: ["M12 4l2.4 5 5.4.7-4 3.8 1 5.4-4.8-2.7-4.8 2.7 1-5.4-4-3.8 5.4-.7z"],
  bin: ["M5 7h14", "M9.5 7V4.500h5V7", "M6.5 7l.8 12.500h9.400L17.5 7", "M10.2 10.500v5.5", "M13.8 10.500v5.5"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  plus: ["M12 5v14", "M5 12h14"],
  down: ["M12 4.500v11", "M7.5 11.500L12 16l4.5-4.5", "M5 19.500h14"],
  search: ["M11 11m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0", "M15.5 15.500L20 20"],
  stop: ["M7 7h10v10H7z"],
  up: ["M12 19V5", "M6.5 10.500L12 5l5.5 5.5"],
  lower: ["M12 5v14", "M6.5 13.500L12 19l5.5-5.5"],
  left: ["M19 12H5", "M10.5 6.500L5 12l5.5 5.5"],
  right: ["M5 12h14", "M13.5 6.500L19 12l-5.5 5.5"],
  back: ["M14.5 5.500L8 12l6.5 6.5"],
  again: ["M19.5 12a7.5 7.5 0 1 1-2.3-5.4", "M19.5 4v4h-4"],
  sun: ["M12 12m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "M12 3v1.500M12 19.500V21M3 12h1.500M19.5 12H21M5.6 5.600l1.1 1.100M17.3 17.300l1.1 1.100M5.6 18.400l1.1-1.100M17.3 6.700l1.1-1.1"],
  moon: ["M19.5 14.200A7.8 7.8 0 0 1 9.8 4.5 7.8 7.8 0 1 0 19.5 14.200z"],
  help: ["M12 12m-8.5 0a8.5 8.5 0 1 0 17 0a8.5 8.5 0 1 0-17 0", "M9.8 9.700a2.3 2.3 0 1 1 3.2 2.100c-.7.3-1 .8-1 1.6", "M12 16.300h.01"],
  more: ["M4 8h10", "M18 8h2", "M16 8m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0", "M4 16h2", "M10 16h10", "M8 16m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0"],
  grip: ["M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01"],
  play: ["M8 5.500v13l10.5-6.500z"],
  compare: ["M3.5 5.500h7.500v13H3.500z", "M13 5.500h7.500v13H13z"],
  frame: ["M4 8V4h4", "M16 4h4v4", "M20 16v4h-4", "M8 20H4v-4", "M12 12h.01"],
  code: ["M8.5 8L4.5 12l4 4", "M15.5 8l4 4-4 4"],
  key: ["M8 15m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "M11 12l8.5-8.5", "M16 7l2.5 2.5"],
};

/** An icon by name; it says nothing to a screen reader. */
export function icon(name, full = false) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", full ? "icon full" : "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const d of PATHS[name] ?? PATHS.make) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** A round button with an icon and a name. */
export function round(name, label, onclick, more = {}) {
  return h("button.round", { type: "button", "aria-label": label, title: label, onclick, ...more }, icon(name));
}

/** A button with a text, and an icon if one is named. */
export function button(kind, name, label, onclick, more = {}) {
  return h(`button.button${kind}`, { type: "button", onclick, ...more }, name && icon(name), label);
}

/** A dialog with a title; it closes by its button, by Escape, and by a click beside it. */
export function dialog(title, body, { closeLabel, narrow = false, onclose } = {}) {
  const box = h(
    narrow ? "dialog.narrow" : "dialog",
    { "aria-label": title },
    h("header", {}, h("h2", {}, title), round("close", closeLabel, () => box.close())),
    h(".body", {}, body),
  );
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("close", () => (box.remove(), onclose?.()));
  document.body.append(box);
  box.showModal();
  return box;
}

/** Calls a function once things have been quiet for so many milliseconds. */
export function later(milliseconds, work) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}
