// Lists whose entries are dragged by a grip, or moved by the arrow keys on it.
import { h, icon } from "./dom.js";

/** A grip. move(by): moves the entry by so many places. axis: "y" for a column, "x" for a row. */
export function grip(label, item, axis, { place, count, move }) {
  const knob = h("button.grip", { type: "button", "aria-label": label, title: label }, icon("grip"));
  const [back, on] = axis === "y" ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
  knob.addEventListener("keydown", (event) => {
    const by = { [back]: -1, [on]: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    if (place() + by >= 0 && place() + by < count()) move(by);
  });
  knob.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    knob.setPointerCapture(event.pointerId);
    knob.focus();
    const begun = axis === "y" ? event.clientY : event.clientX;
    const siblings = [...item.parentElement.children].filter((one) => one.matches("[data-sort]"));
    const boxes = siblings.map((one) => one.getBoundingClientRect());
    const middle = (box) => (axis === "y" ? box.top + box.height / 2 : box.left + box.width / 2);
    const own = siblings.indexOf(item);
    let target = own;
    item.classList.add("dragged");
    const moved = (one) => {
      const by = (axis === "y" ? one.clientY : one.clientX) - begun;
      item.style.transform = axis === "y" ? `translateY(${by}px)` : `translateX(${by}px)`;
      const at = middle(boxes[own]) + by;
      target = boxes.filter((box, index) => index !== own && middle(box) < at).length;
      siblings.forEach((sibling, index) => {
        if (sibling === item) return;
        const shift = own < index && index <= target ? -1 : target <= index && index < own ? 1 : 0;
        const size = axis === "y" ? boxes[own].height + 10 : boxes[own].width + 10;
        sibling.style.transform = shift ? (axis === "y" ? `translateY(${shift * size}px)` : `translateX(${shift * size}px)`) : "";
      });
    };
    const ended = () => {
      knob.removeEventListener("pointermove", moved);
      item.classList.remove("dragged");
      for (const sibling of siblings) sibling.style.transform = "";
      if (target !== own) move(target - own);
    };
    knob.addEventListener("pointermove", moved);
    knob.addEventListener("pointerup", ended, { once: true });
    knob.addEventListener("pointercancel", ended, { once: true });
  });
  return knob;
}
