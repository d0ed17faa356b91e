// What was dropped here the server forgets too.

import { discard } from "./api.js";
import { owed, paid } from "./keep.js";

let settling = false;

/** Tell the server what it is still to forget; what it cannot be told now it is told at the next visit. */
export async function settle() {
  if (settling) return;
  settling = true;
  const tried = new Set();
  for (let id; (id = owed().find((one) => !tried.has(one))); tried.add(id)) {
    await discard(id).then(() => paid(id), (error) => error.status === 404 && paid(id));
  }
  settling = false;
}
