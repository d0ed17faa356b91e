// What survives a reload, in this browser: conversations, choices, and which answers the server is still to forget.

const MOST = 60;
const LIST = "ponder.chats";
const OWED = "ponder.owed";

function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function put(name, value) {
  for (;;) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
      return;
    } catch (error) {
      // Full: the oldest conversation makes room, unless it is this one.
      const oldest = chats().at(-1);
      if (!oldest || `ponder.chat.${oldest.id}` === name) throw error;
      forget(oldest.id);
    }
  }
}

/** All conversations, the newest first, as {id, title, at}. */
export function chats() {
  return load(LIST, []);
}

/** The turns of one. */
export function turnsOf(id) {
  return load(`ponder.chat.${id}`, []);
}

/** Keep a conversation as it is now. */
export function keep(id, turns) {
  if (!turns.length) return forget(id);
  const title = turns[0].question.trim().split("\n")[0].slice(0, 80);
  const [first, ...rest] = chats();
  if (first?.id !== id || first.title !== title) {
    const others = [first, ...rest].filter((chat) => chat && chat.id !== id);
    for (const old of others.slice(MOST - 1)) forget(old.id);
    put(LIST, [{ id, title, at: Date.now() }, ...others.slice(0, MOST - 1)]);
  }
  put(`ponder.chat.${id}`, turns);
}

/** Drop one, its answers on the server included. */
export function forget(id) {
  const gone = turnsOf(id);
  localStorage.removeItem(`ponder.chat.${id}`);
  localStorage.setItem(LIST, JSON.stringify(chats().filter((chat) => chat.id !== id)));
  owe(gone);
}

/** Note that the server is to forget the answers of these turns: it may be out of reach now. */
export function owe(turns) {
  const ids = turns.map((turn) => turn.response).filter(Boolean);
  if (ids.length) put(OWED, [...new Set([...owed(), ...ids])]);
}

/** The ids of the responses that it is still to forget. */
export function owed() {
  return load(OWED, []);
}

/** This one is forgotten. */
export function paid(id) {
  put(OWED, owed().filter((one) => one !== id));
}

/** What the user chose: effort, model, key, and whether raw thoughts are shown. */
export function choices() {
  return load("ponder.choices", {});
}

/** Keep what changed of it. */
export function choose(changed) {
  put("ponder.choices", { ...choices(), ...changed });
}
