// Dialogs that choose a clip, or a frame of one.
import { upload } from "./api.js";
import { card, empty, grid } from "./card.js";
import { button, dialog, fill, h, icon } from "./dom.js";
import { drawn, filmOf, seek, uploadCanvas } from "./media.js";
import { store } from "./store.js";
import { length, t } from "./text.js";
import { tell } from "./toast.js";

/** Asks for a file of this computer. */
export function chooseFile(accept, done) {
  const input = h("input", { type: "file", accept, hidden: true, onchange: () => input.files[0] && done(input.files[0]) });
  document.body.append(input);
  input.click();
  setTimeout(() => input.remove(), 60_000);
}

/** Asks for a clip of the gallery, or a file. done(id of a video or a file). kind: "picture" or "clip". */
export function pickClip(kind, done, failed) {
  const search = h("input", { type: "search", placeholder: t("search"), "aria-label": t("search") });
  const body = h(".pick-clips");
  const show = () => {
    const word = search.value.toLowerCase();
    const clips = store.finished().filter((clip) => clip.prompt.toLowerCase().includes(word)).slice(0, 60);
    fill(body, clips.length ? grid(t("place.gallery"), clips.map((clip) => card(clip, { actions: false, pick: chosen }))) : empty("clips", t("gallery.none"), ""));
  };
  const chosen = (clip) => {
    box.close();
    if (kind === "picture") pickFrame(clip.id, done, failed);
    else done(clip.id);
  };
  const own = button("", "plus", t("pick.file"), () =>
    chooseFile(kind === "picture" ? "image/*" : "video/*,image/gif,image/webp", async (file) => {
      box.close();
      await takeFile(file, done, failed);
    }),
  );
  search.addEventListener("input", show);
  show();
  const box = dialog(t(`pick.${kind}`), [h(".row.wrap.pick-head", {}, h("label.search.grow", {}, icon("search"), search), own), body], { closeLabel: t("close") });
}

/** Uploads a file; done(id). */
export async function takeFile(file, done, failed) {
  try {
    done((await upload(file)).id);
  } catch (failure) {
    failed(failure);
  }
}

/** Asks for a frame of a clip, and uploads it as a picture. done(id of the file). */
export async function pickFrame(reference, done, failed = (failure) => tell(failure.message)) {
  let film;
  try {
    film = await filmOf(reference);
  } catch {
    return failed(new Error(t("error.film")));
  }
  if (!film) return done(reference);
  const step = 1 / store.about.model.fps;
  const last = Math.max(0, Math.round(film.duration / step) - 1);
  const said = h("output.small.soft", {});
  const slider = h("input", { type: "range", min: 0, max: last, value: 0, step: 1, "aria-label": t("pick.frame.slider") });
  const show = async () => {
    said.textContent = t("pick.frame.said", { n: Number(slider.value) + 1, of: last + 1, time: length(slider.value * step) });
    slider.setAttribute("aria-valuetext", said.textContent);
    await seek(film, (Number(slider.value) + 0.5) * step);
  };
  slider.addEventListener("input", show);
  const take = button(".main", "frame", t("pick.frame.take"), async () => {
    take.disabled = true;
    try {
      await show();
      const id = await uploadCanvas(drawn(film), "frame.png");
      box.close();
      done(id);
    } catch (failure) {
      take.disabled = false;
      failed(failure);
    }
  });
  film.controls = false;
  const box = dialog(t("pick.frame"), h(".pick-frame", {}, film, slider, h(".row", {}, said, h("span.grow"), take)), { closeLabel: t("close"), narrow: true });
  slider.focus();
  await show();
}
