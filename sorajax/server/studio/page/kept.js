// What this browser keeps between visits. A frame of another page may not keep anything: it forgets with the page.
const memory = new Map();

function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

export const kept = (name) => storage()?.getItem(name) ?? memory.get(name) ?? null;

export function keep(name, value) {
  memory.set(name, value);
  if (value === null) storage()?.removeItem(name);
  else storage()?.setItem(name, value);
}
