// All finished clips: search, favourites.
import { fill, h, icon, later } from "./dom.js";
import { card, empty, grid } from "./card.js";
import { note, to } from "./route.js";
import { store } from "./store.js";
import { t } from "./text.js";
import { announce } from "./toast.js";

const FIRST = 60;
const RETRY = 2000; // ms after a listing that failed

export function gallery(box, { values }) {
  let words = values.get("q") ?? "";
  let only = values.get("only") ?? "";
  const search = h("input", { type: "search", value: words, placeholder: t("search"), "aria-label": t("search"), autocomplete: "off" });
  const kinds = ["", "favourites"].map((name) =>
    h("button", { type: "button", "aria-pressed": String(only === name), onclick: () => choose(name) }, t(`show.${name || "all"}`)),
  );
  const body = h(".gallery");
  const end = h(".gallery-end", { "aria-hidden": "true" });
  const cards = new Map();
  let most = FIRST;
  let list = null;
  let open = true;
  let asked = null;

  function choose(name) {
    only = name;
    kinds.forEach((one, index) => one.setAttribute("aria-pressed", String(["", "favourites"][index] === name)));
    keep();
  }
  function keep() {
    const query = new URLSearchParams([["q", words], ["only", only]].filter(([, value]) => value));
    note("gallery", [], query.toString());
    most = FIRST;
    if ((words || only) && !store.complete) everything();
    show();
  }
  const more = () =>
    (asked ??= store.more().catch(() => new Promise((done) => setTimeout(done, RETRY))).finally(() => (asked = null)));
  async function everything() {
    while (open && !store.complete) await more();
  }
  const chosen = () => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    return store.finished().filter((clip) =>
      (!only || store.favourites.has(clip.id)) && wanted.every((word) => clip.prompt.toLowerCase().includes(word)));
  };

  function show() {
    const found = chosen();
    if (!found.length) {
      list = null;
      const none = !words && !only;
      const action = none && h("a.button.main", { href: to("make") }, t("place.make"));
      fill(body, store.complete || none ? empty(none ? "clips" : "search", t(none ? "gallery.empty" : "gallery.none"), t(none ? "gallery.empty.about" : "gallery.none.about"), action) : h("p.soft", {}, t("loading")));
      return;
    }
    const shownNow = found.slice(0, most);
    const items = shownNow.map((clip) => {
      const marked = store.favourites.has(clip.id);
      const known = cards.get(clip.id);
      if (known && known.marked === marked) return known.item;
      const item = h("li", {}, card(clip));
      cards.set(clip.id, { item, marked });
      return item;
    });
    list ??= grid(t("place.gallery"), []);
    const focused = document.activeElement?.closest?.(".card")?.dataset.id;
    const before = [...list.children];
    if (before.length !== items.length || before.some((item, index) => item !== items[index])) list.replaceChildren(...items);
    if (list.parentElement !== body) fill(body, list);
    if (focused && !document.activeElement?.closest?.(".card")) list.querySelector(`[data-id="${focused}"] .card-open`)?.focus();
  }

  search.addEventListener("input", later(150, () => {
    words = search.value;
    keep();
    announce(t("gallery.found", { n: chosen().length }));
  }));
  const observer = new IntersectionObserver(async (entries) => {
    if (!entries.at(-1).isIntersecting) return; // a busy browser tells several crossings at once, the newest last
    if (most < chosen().length) most += FIRST;
    else if (!store.complete) await more();
    if (!open) return;
    show();
    observer.unobserve(end);
    if (most < chosen().length || !store.complete) observer.observe(end);
  }, { rootMargin: "1200px" });

  box.append(
    h(".head", {}, h("h1", {}, t("place.gallery")), h(".segments", {}, kinds), h("label.search", {}, icon("search"), search)),
    body,
    end,
  );
  if ((words || only) && !store.complete) everything();
  show();
  observer.observe(end);
  store.addEventListener("clips", show);
  return () => {
    open = false;
    store.removeEventListener("clips", show);
    observer.disconnect();
  };
}

