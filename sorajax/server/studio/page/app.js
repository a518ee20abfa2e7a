// The page: its frame, and which view is shown.
import { apiKey, setKey } from "./api.js";
import { board } from "./board.js";
import { compare } from "./compare.js";
import { button, dialog, fill, h, icon, round } from "./dom.js";
import { gallery } from "./gallery.js";
import { keep as remember, kept } from "./kept.js";
import { make } from "./make.js";
import { play } from "./play.js";
import { queue } from "./queue.js";
import { read, to } from "./route.js";
import { store } from "./store.js";
import { t } from "./text.js";
import { announce, live, toasts } from "./toast.js";
import { video } from "./video.js";

const VIEWS = { make, gallery, board, queue, play, video, compare };
const PLACES = [["make", "make"], ["gallery", "clips"], ["board", "board"], ["queue", "queue"], ["play", "play"]];
const THEME = "sorajax.theme";

const main = h("main", { id: "main", tabIndex: -1 });
const banner = h(".banner", { hidden: true, role: "status" });
const links = PLACES.map(([name, picture]) =>
  h("li", {}, h("a.place", { href: to(name), "data-place": name }, icon(picture), t(`place.${name}`))),
);
const count = h("span.count", { hidden: true });
let leave = () => {};
let ready = false;

function frame() {
  const theme = round("moon", t("theme"), () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  links[3].firstChild.append(count);
  document.body.replaceChildren(
    h("a.button.skip", { href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, t("skip")),
    h("nav.rail", { "aria-label": t("navigation") },
      h("a.mark", { href: to("make"), "aria-label": t("name") }, h("img", { src: "studio/icon.svg", alt: "", width: 34, height: 34 })),
      h("ul", {}, links),
      h(".foot", {}, theme, round("help", t("keys"), showKeys)),
    ),
    h(".page", {}, banner, main),
    toasts,
    live,
  );
}

function setTheme(name) {
  remember(THEME, name);
  document.documentElement.dataset.theme = name;
}

function showTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => (document.documentElement.dataset.theme = kept(THEME) ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", apply);
  apply();
}

function showKeys() {
  const rows = ["make", "search", "places", "move", "favourite", "delete", "close"].map((name) => [
    h("span", {}, t(`keys.${name}.key`).split(" ").map((key, index) => [index ? " " : "", h("kbd", {}, key)])),
    h("span", {}, t(`keys.${name}`)),
  ]);
  dialog(t("keys"), h(".keys", {}, rows), { closeLabel: t("close"), narrow: true });
}

/** Shows the view of the address. */
function show() {
  if (!ready) return;
  const route = read();
  const view = (route.place !== "play" || store.about.worlds.length) && VIEWS[route.place] || make;
  const place = { video: "gallery", compare: "gallery" }[route.place] ?? route.place;
  for (const { firstChild: link } of links) {
    if (link.dataset.place === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave();
  for (const box of document.querySelectorAll("dialog")) box.close();
  const box = h(`.view.view-${route.place}`);
  main.replaceChildren(box);
  leave = view(box, route) ?? (() => {});
  const title = box.querySelector("h1");
  document.title = title ? `${title.textContent} · ${t("name")}` : t("name");
  if (shown) {
    if (title) {
      title.tabIndex = -1;
      title.focus({ preventScroll: true });
    }
    window.scrollTo(0, 0);
  }
  if (!shown) performance.mark("shown");
  shown = true;
}
let shown = false;

function showState() {
  banner.hidden = store.online || store.needsKey;
  fill(banner, t(store.opening ? "opening" : "offline"));
}

function askKey() {
  const input = h("input", { type: "password", autocomplete: "current-password", "aria-label": t("key.label"), required: true });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    setKey(input.value.trim());
    await begin();
  } },
    h("h1", {}, t("key.title")),
    h("p.soft", {}, t(apiKey() === null && tried ? "key.wrong" : "key.about")),
    h(".row", {}, h("label.field.grow", {}, input), button(".main", "key", t("key.go"), null, { type: "submit" })),
  );
  tried = true;
  main.replaceChildren(h(".view.view-key", {}, form));
  input.focus();
}
let tried = false;

async function begin() {
  ready = await store.start();
  links[4].hidden = !store.about?.worlds.length;
  if (ready) show();
  else askKey();
}

addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const place = { 1: "make", 2: "gallery", 3: "board", 4: "queue", 5: "play" }[event.key];
  if (place) location.hash = to(place);
  if (event.key === "/") {
    event.preventDefault();
    if (read().place !== "gallery") location.hash = to("gallery");
    setTimeout(() => document.querySelector("input[type=search]")?.focus(), 50);
  }
  if (event.key === "?") showKeys();
});
store.addEventListener("online", showState);
store.addEventListener("key", askKey);
store.addEventListener("queue", () => {
  count.hidden = !store.queue.length;
  fill(count, String(store.queue.length), h("span.unseen", {}, t("queue.count")));
});
store.addEventListener("ended", ({ detail }) => announce(t(detail.status === "completed" ? "ended" : "failed", { prompt: detail.prompt })));

showTheme();
frame();
showState();
begin();
