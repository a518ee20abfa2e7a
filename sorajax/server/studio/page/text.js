// Texts of the page. A translation is a copy of texts/en.js, named here.
import en from "./texts/en.js";

const LANGUAGES = { en };
const wanted = (navigator.languages ?? ["en"]).map((name) => name.slice(0, 2)).find((name) => name in LANGUAGES);
const texts = { ...en, ...LANGUAGES[wanted ?? "en"] };
document.documentElement.lang = wanted ?? "en";

/** A text by its key, with {name} replaced by values. An unknown key is shown as it is. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A text if there is one of this key. */
export const maybe = (key, otherwise) => (key in texts ? t(key) : otherwise);

/** A length, e.g. "2.1 s" or "1 min 5 s". */
export function length(seconds) {
  if (seconds >= 60) return t("minutes", { m: Math.floor(seconds / 60), s: Math.round(seconds % 60) });
  return t("seconds", { s: Number(seconds).toFixed(seconds < 10 ? 1 : 0).replace(/\.0$/, "") });
}

/** A waiting time, in round figures. */
export function about(seconds) {
  if (seconds === null || seconds === undefined) return t("time.unknown");
  if (seconds < 1.5) return t("time.moment");
  if (seconds < 90) return t("time.seconds", { n: Math.round(seconds) });
  if (seconds < 5400) return t("time.minutes", { n: Math.round(seconds / 60) });
  return t("time.hours", { n: (seconds / 3600).toFixed(1) });
}

/** When something was, relative to now. */
export function ago(time) {
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
  const seconds = Date.now() / 1000 - time;
  if (seconds < 60) return t("now");
  if (seconds < 3600) return format.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return format.format(-Math.floor(seconds / 3600), "hour");
  return format.format(-Math.floor(seconds / 86400), "day");
}
