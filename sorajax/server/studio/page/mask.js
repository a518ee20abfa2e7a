// A mask painted on a frame: white where the clip is changed.
import { button, h, round } from "./dom.js";
import { drawn, uploadCanvas } from "./media.js";
import { t } from "./text.js";

/** A painter over a frame of a film. change(id of the uploaded mask, or null). */
export function painter(film, change, failed) {
  const frame = drawn(film);
  const [width, height] = [frame.width, frame.height];
  const paint = h("canvas.mask-paint", { width, height, tabIndex: 0, role: "application", "aria-label": t("mask.canvas") });
  const ink = paint.getContext("2d", { willReadFrequently: true });
  const cursor = h(".mask-cursor");
  const size = h("input", { type: "range", min: 2, max: 50, value: 16, "aria-label": t("mask.size") });
  let erasing = false;
  let at = [width / 2, height / 2];
  const past = [];
  const radius = () => (Math.min(width, height) * size.value) / 100;

  function dot([x, y], [fromX, fromY] = [x, y]) {
    ink.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    ink.strokeStyle = "#fff";
    ink.lineWidth = 2 * radius();
    ink.lineCap = "round";
    ink.beginPath();
    ink.moveTo(fromX, fromY);
    ink.lineTo(x + 0.01, y);
    ink.stroke();
  }
  const keep = () => past.push(ink.getImageData(0, 0, width, height));
  function point(event) {
    const box = paint.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }
  function showCursor() {
    cursor.style.left = `${(100 * at[0]) / width}%`;
    cursor.style.top = `${(100 * at[1]) / height}%`;
    cursor.style.width = `${(200 * radius()) / width}%`;
  }

  let drawing = false;
  paint.addEventListener("pointerdown", (event) => {
    paint.setPointerCapture(event.pointerId);
    keep();
    drawing = true;
    at = point(event);
    dot(at);
  });
  paint.addEventListener("pointermove", (event) => {
    const next = point(event);
    if (drawing) dot(next, at);
    at = next;
    showCursor();
  });
  for (const name of ["pointerup", "pointercancel"]) paint.addEventListener(name, () => drawing && ((drawing = false), store()));
  paint.addEventListener("keydown", (event) => {
    const step = Math.max(1, radius() / 2);
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (!move && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (move) at = [Math.min(width, Math.max(0, at[0] + move[0])), Math.min(height, Math.max(0, at[1] + move[1]))];
    else {
      keep();
      dot(at);
      store();
    }
    showCursor();
  });
  size.addEventListener("input", showCursor);

  let newest = 0;
  async function store() {
    const number = ++newest;
    const whole = ink.getImageData(0, 0, width, height).data;
    if (!whole.some((value, index) => index % 4 === 3 && value > 127)) return change(null);
    const mask = h("canvas", { width, height });
    const context = mask.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.drawImage(paint, 0, 0);
    try {
      const id = await uploadCanvas(mask, "mask.png");
      if (number === newest) change(id);
    } catch (failure) {
      failed(failure);
    }
  }
  const modes = [false, true].map((mode) =>
    h("button", { type: "button", "aria-pressed": String(!mode), onclick: () => {
      erasing = mode;
      modes.forEach((one, index) => one.setAttribute("aria-pressed", String(Boolean(index) === mode)));
    } }, t(mode ? "mask.erase" : "mask.paint")),
  );
  const tools = h(".row.wrap.mask-tools", {},
    h(".segments", {}, modes),
    h("label.row.grow.small.soft", {}, t("mask.size"), size),
    round("again", t("undo"), () => past.length && (ink.putImageData(past.pop(), 0, 0), store())),
    button(".tight", null, t("mask.clear"), () => (keep(), ink.clearRect(0, 0, width, height), store())),
  );
  showCursor();
  return h(".mask", {}, h(".mask-stage", { style: { "aspect-ratio": `${width} / ${height}` } }, frame, paint, cursor), tools);
}
