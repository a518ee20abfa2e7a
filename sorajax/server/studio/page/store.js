// What the page knows: the model and its tasks, the clips, the queue. Views listen to "clips" and "queue".
import { Failure, get, send, setKey } from "./api.js";

const PAGE = 100;
const BUSY = 600;
const CALM = 4000;

class Store extends EventTarget {
  about = null;
  clips = new Map(); // by id, finished or failed
  order = []; // ids, newest first
  favourites = new Set();
  queue = []; // entries of v1/queue
  complete = false; // whether all clips are listed
  online = true;
  needsKey = false;
  #hidden = new Set(); // ids that are deleted unless that is undone
  #timer = null;
  #loading = null;

  say(name) {
    this.dispatchEvent(new Event(name));
  }

  /** Asks for everything that the first view needs; again and again until the server answers. */
  async start() {
    for (let wait = 300; ; wait = Math.min(wait * 1.5, 4000)) {
      try {
        [this.about] = await Promise.all([get("v1/studio"), this.refresh()]);
        this.needsKey = false;
        break;
      } catch (failure) {
        this.needsKey = failure.status === 401;
        if (this.needsKey) setKey(null);
        this.#reach(failure);
        if (this.needsKey) return false;
        await new Promise((done) => setTimeout(done, wait));
      }
    }
    this.setOnline(true);
    this.poll();
    return true;
  }

  setOnline(online) {
    if (this.online === online) return;
    this.online = online;
    this.say("online");
  }

  #reach(failure) {
    if (failure instanceof Failure && failure.status === 401) {
      this.needsKey = true;
      this.say("key");
    }
    this.opening = failure instanceof Failure && failure.status === 503;
    this.setOnline(failure instanceof Failure && failure.status !== 0 && failure.status < 500);
    if (this.opening) this.say("online");
  }

  /** Lists the newest clips, and the favourites. */
  async refresh() {
    const [page, marked, queue] = await Promise.all([get(`v1/videos?limit=${PAGE}`), get("v1/favourites"), get("v1/queue")]);
    this.favourites = new Set(marked.data);
    this.queue = queue.data;
    const known = new Set(page.data.map((clip) => clip.id));
    const last = page.data.at(-1);
    const older = last ? this.order.filter((id) => !known.has(id) && this.clips.get(id)?.created_at < last.created_at) : [];
    for (const clip of page.data) this.clips.set(clip.id, clip);
    this.order = [...page.data.map((clip) => clip.id), ...older];
    this.complete = this.complete || !page.has_more;
    this.say("clips");
    this.say("queue");
  }

  /** Lists the clips before those that are listed. */
  more() {
    if (this.complete || !this.order.length) return Promise.resolve();
    this.#loading ??= get(`v1/videos?limit=${PAGE}&after=${this.order.at(-1)}`)
      .then((page) => {
        for (const clip of page.data) this.clips.set(clip.id, clip);
        this.order = [...new Set([...this.order, ...page.data.map((clip) => clip.id)])];
        this.complete = !page.has_more;
        this.say("clips");
      })
      .finally(() => (this.#loading = null));
    return this.#loading;
  }

  /** A clip, asked for if it is not listed. */
  async clip(id) {
    if (!this.clips.has(id)) this.clips.set(id, await get(`v1/videos/${id}`));
    return this.clips.get(id);
  }

  /** Finished clips, newest first, without those being deleted. */
  finished() {
    return this.listed().filter((clip) => clip.status === "completed");
  }

  listed() {
    return this.order.filter((id) => !this.#hidden.has(id)).map((id) => this.clips.get(id)).filter(Boolean);
  }

  /** A video that was just queued. */
  add(clip) {
    this.clips.set(clip.id, clip);
    if (!this.order.includes(clip.id)) this.order.unshift(clip.id);
    if (!this.queue.some((entry) => entry.id === clip.id)) {
      this.queue.push({ ...clip, place: this.queue.length, seconds_left: null, starts_in: null, preview: null });
    }
    this.say("queue");
    this.poll(0);
  }

  /** Looks at the queue now and then; often while something is in it. */
  poll(wait = this.queue.length ? BUSY : CALM) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.look().finally(() => this.poll()), document.hidden ? wait * 4 : wait);
  }

  async look() {
    try {
      const queue = (await get("v1/queue")).data;
      const waiting = new Set(queue.map((entry) => entry.id));
      const gone = this.queue.filter((entry) => !waiting.has(entry.id)).map((entry) => entry.id);
      const wasAway = !this.online;
      this.queue = queue;
      for (const entry of queue) this.clips.set(entry.id, entry);
      const unknown = queue.some((entry) => !this.order.includes(entry.id));
      await Promise.all(gone.map((id) => this.#ended(id)));
      this.setOnline(true);
      this.opening = false;
      if (wasAway || unknown) await this.refresh();
      else {
        this.say("queue");
        if (gone.length) this.say("clips");
      }
    } catch (failure) {
      this.#reach(failure);
    }
  }

  async #ended(id) {
    try {
      this.clips.set(id, await get(`v1/videos/${id}`));
      const clip = this.clips.get(id);
      this.dispatchEvent(new CustomEvent("ended", { detail: clip }));
    } catch (failure) {
      if (failure.status !== 404) throw failure;
      this.forget(id);
    }
  }

  forget(id) {
    this.clips.delete(id);
    this.order = this.order.filter((other) => other !== id);
    this.favourites.delete(id);
  }

  async mark(id, on) {
    if (on) this.favourites.add(id);
    else this.favourites.delete(id);
    this.say("clips");
    await send(on ? "PUT" : "DELETE", `v1/favourites/${id}`);
  }

  /** Hides a clip; `finish` deletes it, `undo` shows it again. */
  remove(id) {
    this.#hidden.add(id);
    this.say("clips");
    return {
      undo: () => (this.#hidden.delete(id), this.say("clips")),
      finish: async () => {
        try {
          await send("DELETE", `v1/videos/${id}`);
        } catch (failure) {
          if (failure.status !== 404) {
            this.#hidden.delete(id);
            this.say("clips");
            throw failure;
          }
        }
        this.#hidden.delete(id);
        this.forget(id);
        this.say("clips");
      },
    };
  }
}

export const store = new Store();
