// Addresses of the page's states: #/PLACE/MORE?PARAMETERS.

/** The place that an address names, its further parts, and its parameters. */
export function read(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [place, ...rest] = path.split("/").map(decodeURIComponent);
  return { place: place || "make", rest, query, values: new URLSearchParams(query) };
}

/** An address. */
export function to(place, rest = [], query = "") {
  const path = [place, ...rest].map(encodeURIComponent).join("/");
  return `#/${path}${query ? `?${query}` : ""}`;
}

/** Opens an address; the back button returns. */
export function go(place, rest, query) {
  location.hash = to(place, rest, query);
}

/** Notes a changed state of the same view in the address, without another entry in the history. */
export function note(place, rest, query) {
  history.replaceState(null, "", to(place, rest, query));
}
