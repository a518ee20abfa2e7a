// The settings in an mp4 of ours: JSON in its comment (moov, udta, meta, ilst, ©cmt, data).

const PATH = ["moov", "udta", "meta", "ilst", "\u00a9cmt", "data"];
const BEFORE = { meta: 4, data: 8 }; // bytes of a box before its content

/** The metadata of a file, or null if it has none of ours. */
export async function metadataOf(file) {
  const view = new DataView(await file.arrayBuffer());
  let [start, end] = [0, view.byteLength];
  for (const name of PATH) {
    const found = box(view, start, end, name);
    if (!found) return null;
    [start, end] = [found[0] + (BEFORE[name] ?? 0), found[1]];
  }
  try {
    const values = JSON.parse(new TextDecoder().decode(new Uint8Array(view.buffer, start, end - start)));
    return values && typeof values.prompt === "string" ? values : null;
  } catch {
    return null;
  }
}

function box(view, start, end, name) {
  while (start + 8 <= end) {
    let size = view.getUint32(start);
    let head = 8;
    if (size === 1 && start + 16 <= end) {
      size = Number(view.getBigUint64(start + 8));
      head = 16;
    }
    if (size === 0) size = end - start;
    if (size < head || start + size > end) return null;
    const kind = String.fromCharCode(...[4, 5, 6, 7].map((place) => view.getUint8(start + place)));
    if (kind === name) return [start + head, start + size];
    start += size;
  }
  return null;
}
