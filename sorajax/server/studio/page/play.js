// Playing: a prompt becomes a world, and keys steer what is in it. The server sends frames over a WebSocket.
import { address, apiKey } from "./api.js";
import { button, fill, h, icon } from "./dom.js";
import { note, to } from "./route.js";
import { store } from "./store.js";
import { length, t } from "./text.js";
import { announce, tell } from "./toast.js";

const KEYS = { ArrowLeft: "left", a: "left", A: "left", ArrowRight: "right", d: "right", D: "right", ArrowUp: "jump", w: "jump", W: "jump", " ": "jump" };
const PADS = [["left", "left"], ["jump", "up"], ["right", "right"]];
const UNANSWERED = 2; // frames that are asked for and not here yet

/** The address of a play with the settings of a clip. */
export const again = ({ prompt, world, seed }) => new URLSearchParams({ prompt, world, seed }).toString();

export function play(box, { values }) {
  const title = h("h1", {}, t("play.title"));
  const worlds = store.about.worlds;
  const prompt = h("input.input", { value: values.get("prompt") ?? "", placeholder: t("play.example"), "aria-label": t("prompt"), maxLength: store.about.limits.prompt, autocomplete: "off" });
  const select = h("select", { "aria-label": t("option.world") }, worlds.map((name) => h("option", { value: name, selected: name === values.get("world") }, t(`world.${name}`))));
  const starter = button(".main", "play", t("play.begin"), null, { type: "submit" });
  const form = h("form.play-form", { onsubmit: (event) => (event.preventDefault(), begin()) }, prompt, h("span.pill", { title: t("option.world") }, select), starter);
  const error = h("p.error", { role: "alert", hidden: true });
  const canvas = h("canvas.play-canvas", { width: 64, height: 64, tabIndex: 0, role: "img", "aria-label": t("play.canvas") });
  const cover = h(".play-cover", {}, icon("play"), h("p", {}, t("play.about")));
  const stage = h(".play-stage", {}, canvas, cover);
  const pads = h(".play-pads", { role: "group", "aria-label": t("play.pads") }, PADS.map(([action, picture]) => pad(action, picture)));
  const rate = h("span.small.soft.grow.play-rate", { "aria-hidden": "true" });
  const keeper = button("", "down", t("play.keep"), () => keep(), { disabled: true });
  const stopper = button(".plain", "stop", t("stop"), () => stop(), { disabled: true });
  const ink = canvas.getContext("2d");
  const held = []; // actions whose keys are down, the last one last
  let once = null; // of a key that was pressed since the last frame
  let socket = null;
  let timer = null;
  let world = null;
  let waiting = 0;
  let count = 0;
  let arrivals = [];

  function pad(action, picture) {
    const press = (event) => (event.preventDefault(), down(action));
    const release = () => up(action);
    return h("button.play-pad", {
      type: "button", "aria-label": t(`action.${action}`), "data-action": action, onpointerdown: press, onpointerup: release, onpointercancel: release, onpointerleave: release,
      oncontextmenu: (event) => event.preventDefault(), onclick: (event) => event.detail === 0 && (once = action),
    }, icon(picture));
  }
  function down(action) {
    if (!held.includes(action)) held.push(action);
    once = action;
  }
  function up(action) {
    const index = held.indexOf(action);
    if (index >= 0) held.splice(index, 1);
  }
  /** A key that was just pressed, else a direction that is held, else a jump that is held. */
  function chosen() {
    const next = once ?? held.findLast((action) => action !== "jump") ?? held.at(-1) ?? "nothing";
    once = null;
    return next;
  }

  function begin() {
    stop();
    error.hidden = true;
    const seed = Number(values.get("seed"));
    const settings = { prompt: prompt.value, world: select.value, ...(values.get("seed") && prompt.value === values.get("prompt") ? { seed } : {}) };
    note("play", [], new URLSearchParams(settings).toString());
    say(t("play.opening"), true);
    const url = new URL(address("v1/play"));
    url.protocol = url.protocol.replace("http", "ws");
    const mine = (socket = new WebSocket(url));
    mine.onopen = () => mine.send(JSON.stringify({ ...settings, ...(apiKey() ? { key: apiKey() } : {}) }));
    let last = Promise.resolve();
    mine.onmessage = ({ data }) => {
      const begun = world;
      if (mine !== socket) return;
      if (typeof data === "string") heard(JSON.parse(data));
      else last = last.then(() => show(data, begun, mine));
    };
    mine.onclose = () => mine === socket && over(t(world ? "play.over" : error.hidden ? "error.network" : "play.about"));
    stopper.disabled = false;
    canvas.focus();
  }

  function heard(message) {
    if (message.type === "begun") {
      world = message;
      [canvas.width, canvas.height] = message.size.split("x").map(Number);
      stage.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
      waiting = 1;
      count = 0;
      arrivals = [];
      cover.hidden = true;
      keeper.disabled = false;
      timer = setInterval(ask, 1000 / message.fps);
      announce(t("play.begun"));
    } else if (message.type === "kept") {
      keeper.disabled = false;
      store.clips.set(message.video.id, message.video);
      store.refresh().catch(() => {});
      tell(t("play.kept"), h("a", { href: to("video", [message.video.id]) }, t("play.open")));
    } else {
      waiting = 0;
      keeper.disabled = !world;
      clearInterval(message.error.code === "play_full" ? timer : null);
      error.hidden = false;
      error.textContent = message.error.message;
    }
  }

  /** Asks for the next frame, unless the last ones have not come. */
  function ask() {
    if (waiting >= UNANSWERED || socket?.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({ action: chosen() }));
    waiting++;
  }

  /** Draws a frame of the play that `begun` describes, unless another play has begun while it was decoded. */
  async function show(data, begun, mine) {
    const picture = await createImageBitmap(data);
    if (mine !== socket) return picture.close();
    ink.drawImage(picture, 0, 0);
    picture.close();
    waiting = Math.max(0, waiting - 1);
    count++;
    const now = performance.now();
    arrivals = [...arrivals.filter((time) => now - time < 2000), now];
    const shown = arrivals.length > 1 ? ((arrivals.length - 1) * 1000) / (now - arrivals[0]) : 0;
    rate.textContent = t("play.rate", { n: shown.toFixed(1), time: length(count / begun.fps), most: length(begun.seconds) });
    rate.dataset.frames = count;
  }

  function keep() {
    keeper.disabled = true;
    socket?.send(JSON.stringify({ keep: true }));
  }
  function stop() {
    const old = socket;
    socket = null;
    old?.close();
    over(t("play.about"));
  }
  function over(text) {
    clearInterval(timer);
    world = null;
    once = null;
    held.length = 0;
    keeper.disabled = stopper.disabled = true;
    say(text);
  }
  function say(text, busy = false) {
    cover.hidden = false;
    fill(cover, !busy && icon("play"), h("p", { role: "status" }, text), busy && h(".bar.waiting", {}, h("span")));
  }

  const pressed = (event) => {
    const action = KEYS[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog")) return;
    if (event.key === " " && event.target.closest?.("button, a")) return;
    if (!world) return;
    event.preventDefault();
    if (!event.repeat) down(action);
  };
  const released = (event) => KEYS[event.key] && up(KEYS[event.key]);
  const leave = () => (held.length = 0);
  document.addEventListener("keydown", pressed);
  document.addEventListener("keyup", released);
  addEventListener("blur", leave);

  box.append(
    h(".head", {}, title),
    form,
    error,
    h(".play", {}, stage, pads, h(".row.wrap.play-foot", {}, rate, stopper, keeper), h("p.small.soft", {}, t("play.keys"))),
  );
  return () => {
    document.removeEventListener("keydown", pressed);
    document.removeEventListener("keyup", released);
    removeEventListener("blur", leave);
    stop();
  };
}
