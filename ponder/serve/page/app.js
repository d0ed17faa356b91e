// The page: a conversation, what asks, and what is shown of it.

import { cancel, Failure, read, respond, resume, useKey } from "./api.js";
import { chats, choices, choose, forget, keep, owe, turnsOf } from "./keep.js";
import { settle } from "./settle.js";
import { redraw, showTree } from "./tree.js";
import { asked, end, fail, fresh, headline, running, spoken, take } from "./turn.js";
import { made, TurnView } from "./view.js";

const at = (id) => document.getElementById(id);
const SAVE_EVERY = 400; // milliseconds
const SPEAK_EVERY = 2500;
const AGAIN = [300, 1000, 3000, 8000]; // before each further try to reach a stream again

const chat = { id: "", turns: [], views: new Map() };
let about = { effort: "medium", thoughts: false, tree: false };
let efforts = {}; // by the names of models
let ready = false; // whether it is known which models there are, and which conversation is open
let early = false; // whether a question was sent before that
let lasting = true; // whether the server keeps responses, so that a stream can be taken up again
let stopping = null; // ends the request that is under way
let following = true; // whether the end of the conversation is in view
let saved = 0;
let later = null; // saves what came too soon after that
let spoke = { at: 0, text: "" };

// Conversations

function open(id, { push = true } = {}) {
  if (later) save({ now: true });
  stopping?.abort("left");
  stopping = null;
  chat.id = id || fresh();
  chat.turns = id ? turnsOf(id) : [];
  if (push) history.pushState(null, "", id ? `#${id}` : location.pathname);
  draw();
  listChats();
  at("side").classList.remove("open");
  shade(false);
  const last = chat.turns.at(-1);
  if (last && running(last)) takeUp(last);
  if (!matchMedia("(max-width: 48rem)").matches) at("question").focus();
}

function draw() {
  chat.views.clear();
  at("turns").replaceChildren(...chat.turns.map(view));
  at("welcome").hidden = chat.turns.length > 0;
  document.title = chat.turns[0] ? `${chat.turns[0].question.slice(0, 60)} · Ponder` : "Ponder";
  following = true;
  follow();
  busy();
}

function view(turn) {
  const drawn = new TurnView(turn, {
    retry, edit, signIn, tree: (one) => showTree(at("tree"), one), chosen: () => save({ now: true }),
  });
  chat.views.set(turn.id, drawn);
  return drawn.element;
}

function listChats() {
  const rows = chats().map(({ id, title }) =>
    made("li", id === chat.id ? { "aria-current": "true" } : {},
      made("a", { href: `#${id}`, onclick: (event) => (event.preventDefault(), open(id)) }, title),
      made("button", { type: "button", class: "quiet", "aria-label": `Delete ${title}`, onclick: () => drop(id) }, "✕")));
  at("chats").replaceChildren(...rows);
}

function drop(id) {
  if (id === chat.id && chat.turns.length) cutAt(chat.turns[0]);
  forget(id);
  if (id === chat.id) open("");
  else listChats();
  settle();
}

function save({ now = false } = {}) {
  const wait = saved + SAVE_EVERY - Date.now();
  if (!now && wait > 0) return void (later ??= setTimeout(save, wait, { now: true }));
  clearTimeout(later);
  later = null;
  saved = Date.now();
  keep(chat.id, chat.turns);
}

// Asking

function ask(question, example = null) {
  if (stopping) return;
  const turn = asked(question, { effort: at("effort").value || about.effort, model: at("model").value }, example);
  chat.turns.push(turn);
  at("welcome").hidden = true;
  at("turns").append(view(turn));
  if (chat.turns.length === 1) {
    history.pushState(null, "", `#${chat.id}`);
    document.title = `${question.slice(0, 60)} · Ponder`;
  }
  save({ now: true });
  listChats();
  following = true;
  follow();
  run(turn, (signal) => begin(turn, signal));
}

function retry(turn, effort) {
  cutAt(turn);
  if (effort === "more") {
    const names = [...at("effort").options].map((one) => one.value);
    const next = names[names.indexOf(turn.by?.effort ?? turn.effort) + 1];
    if (next && next !== "auto") at("effort").value = next;
  }
  ask(turn.question, turn.example);
}

function edit(turn, question) {
  cutAt(turn);
  ask(question);
}

/** Drop a turn and all that followed it, here and on the server. */
function cutAt(turn) {
  const gone = chat.turns.slice(chat.turns.indexOf(turn));
  for (const one of gone) one.dropped = true;
  if (stopping) stop();
  stopping = null;
  chat.turns.length -= gone.length;
  for (const { id } of gone) {
    chat.views.get(id)?.element.remove();
    chat.views.delete(id);
  }
  owe(gone);
  settle();
}

function signIn(key) {
  useKey(key);
  choose({ key });
  const last = chat.turns.at(-1);
  loadModels().then(() => last && retry(last));
}

async function* begin(turn, signal) {
  const body = {
    model: turn.model,
    input: spoken(chat.turns),
    reasoning: { effort: turn.effort, summary: "auto" },
    ...(lasting && { store: true, background: true }),
  };
  const include = [...(about.thoughts && at("raw").checked ? ["reasoning.content"] : []), ...(about.tree ? ["ponder.tree"] : [])];
  if (include.length) body.include = include;
  try {
    yield* respond(body, signal);
  } catch (error) {
    if (!(lasting && error instanceof Failure && ["background", "store"].includes(error.param))) throw error;
    lasting = false; // this server keeps nothing: ask as one that must not be left
    yield* begin(turn, signal);
  }
}

function takeUp(turn) {
  if (!turn.response || turn.seq < 0) {
    end(turn, "lost");
    update(turn);
    return;
  }
  run(turn, (signal) => resume(turn.response, turn.seq, signal));
}

/** Follow a response until it is over, over broken connections too. */
async function run(turn, start) {
  const mine = new AbortController();
  stopping = mine;
  busy();
  const clock = setInterval(() => update(turn), 250);
  let source = start;
  for (let tries = 0; running(turn) && !mine.signal.aborted; ) {
    const before = turn.seq;
    try {
      for await (const event of source(mine.signal)) {
        take(turn, event);
        changed(turn);
        if (turn.state !== "stopped") continue;
        giveUp(turn); // it was stopped before it had a name to cancel it by
        break;
      }
      if (running(turn)) throw new Failure("The answer ended too early.");
    } catch (error) {
      if (mine.signal.aborted || !running(turn)) break;
      if (turn.seq > before) tries = 0;
      if (!(await again(turn, error, tries, mine.signal))) break;
      tries += 1;
      source = (signal) => resume(turn.response, turn.seq, signal);
    }
  }
  clearInterval(clock);
  if (mine.signal.reason === "left") return;
  if (mine.signal.aborted && running(turn)) end(turn, "stopped");
  if (stopping === mine) stopping = null;
  finish(turn);
}

/** Whether it is worth another try; where it is not, the turn has ended. */
async function again(turn, error, tries, signal) {
  if (error.status === 404 && turn.response) end(turn, "lost");
  else if (error.status || !lasting || !turn.response || tries >= AGAIN.length) fail(turn, error);
  else {
    await new Promise((done) => {
      setTimeout(done, AGAIN[tries]);
      signal.addEventListener("abort", done, { once: true });
    });
    return !signal.aborted;
  }
  return false;
}

function finish(turn) {
  update(turn);
  save({ now: true });
  busy();
  const said = { done: `Answer: ${turn.answer.slice(0, 300)}`, incomplete: `Answer: ${turn.answer.slice(0, 300)}` };
  speak(said[turn.state] ?? (turn.state === "stopped" ? "Stopped." : ""), { now: true });
  if (turn.example && turn.state === "done") grade(turn);
}

async function grade(turn) {
  try {
    turn.grade = await read("/page/grade", { method: "POST", body: { id: turn.example, answer: turn.answer } });
  } catch {
    return; // a verdict is an extra: without one the answer stands as it is
  }
  update(turn);
  save({ now: true });
}

function stop() {
  const turn = chat.turns.at(-1);
  const request = stopping;
  stopping = null;
  if (!turn || !running(turn)) return;
  end(turn, "stopped");
  if (turn.response) giveUp(turn);
  if (turn.response || !lasting) request?.abort("stopped");
  update(turn);
  busy();
}

/** Have the server end what nobody waits for. */
function giveUp(turn) {
  if (turn.dropped) (owe([turn]), settle());
  else if (lasting) cancel(turn.response).catch(() => {}); // it may have ended by itself
}

// What is shown

const waiting = new Set();

/** Have a turn shown anew, at most once a frame. */
function changed(turn) {
  if (waiting.size === 0) requestAnimationFrame(() => {
    for (const one of waiting) update(one);
    waiting.clear();
  });
  waiting.add(turn);
  save();
}

function update(turn) {
  chat.views.get(turn.id)?.update();
  redraw(turn);
  if (turn.state === "thinking") speak(headline(turn));
  follow();
}

function speak(text, { now = false } = {}) {
  if (!text || text === spoke.text || (!now && Date.now() - spoke.at < SPEAK_EVERY)) return;
  spoke = { at: Date.now(), text };
  at("live").textContent = text;
}

/** Keep the end in view, where it is. */
function follow() {
  const main = at("chat");
  if (following && chat.turns.length) main.scrollTop = main.scrollHeight;
  else if (!chat.turns.length) main.scrollTop = 0;
  look();
}

/** Find out whether the end is in view. */
function look() {
  const main = at("chat");
  following = !chat.turns.length || main.scrollHeight - main.scrollTop - main.clientHeight < 60;
  at("down").hidden = following;
}

function busy() {
  const on = stopping !== null;
  at("ask").classList.toggle("busy", on);
  at("send").setAttribute("aria-label", on ? "Stop" : "Send");
  at("send").title = on ? "Stop (Esc)" : "Send (Enter)";
  at("send").disabled = !on && !at("question").value.trim();
}

function grow() {
  const box = at("question");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.4)}px`;
  busy();
}

function shade(on) {
  at("shade").hidden = !on;
  at("menu").setAttribute("aria-expanded", on);
}

function submit() {
  const box = at("question");
  if (!ready) return void (early = true);
  if (stopping) return stop();
  const text = box.value.trim();
  if (!text) return;
  box.value = "";
  grow();
  ask(text);
}

// What can be chosen

function fill(select, options, wanted) {
  select.replaceChildren(...options.map((one) => made("option", { value: one }, one)));
  select.value = options.includes(wanted) ? wanted : options[0];
}

async function loadModels() {
  try {
    const { data } = await read("/v1/models");
    efforts = Object.fromEntries(data.map((model) => [model.id, model.x_ponder_efforts]));
    fill(at("model"), Object.keys(efforts), choices().model);
    loadEfforts();
  } catch (error) {
    if (error.status !== 401) throw error; // the first question will ask for the key
  }
}

function loadEfforts() {
  const offered = efforts[at("model").value] ?? [];
  const wanted = choices().effort;
  fill(at("effort"), offered, offered.includes(wanted) ? wanted : about.effort);
}

async function loadExamples(draw) {
  const found = await read(`/page/examples.json?draw=${draw}`);
  at("examples").replaceChildren(...found.map(({ task, id, prompt }) =>
    made("li", {}, made("button", { type: "button", onclick: () => ask(prompt, id) },
      made("strong", {}, task.replaceAll("_", " & ")), made("span", {}, prompt)))));
}

async function start() {
  const chosen = choices();
  useKey(chosen.key ?? "");
  at("raw").checked = Boolean(chosen.raw);
  about = await read("/page/about.json");
  at("raw-pick").hidden = !about.thoughts;
  await loadModels();
  let draw = 0;
  at("others").addEventListener("click", () => loadExamples((draw += 1)));
  await loadExamples(draw);
  open(location.hash.slice(1), { push: false });
  ready = true;
  if (early) submit();
  settle();
}

at("effort").addEventListener("change", () => choose({ effort: at("effort").value }));
at("model").addEventListener("change", () => {
  choose({ model: at("model").value });
  loadEfforts();
});
at("raw").addEventListener("change", () => choose({ raw: at("raw").checked }));
at("question").addEventListener("input", grow);
at("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!stopping) submit();
});
at("ask").addEventListener("submit", (event) => (event.preventDefault(), submit()));
for (const name of ["new", "new-small"]) at(name).addEventListener("click", () => open(""));
at("menu").addEventListener("click", () => shade(at("side").classList.toggle("open")));
at("shade").addEventListener("click", () => (at("side").classList.remove("open"), shade(false)));
at("down").addEventListener("click", () => ((following = true), follow()));
at("tree-close").addEventListener("click", () => at("tree").close());
at("chat").addEventListener("scroll", look);
new ResizeObserver(() => (stopping ? follow() : look())).observe(at("turns"));
addEventListener("keydown", (event) => event.key === "Escape" && stopping && !at("tree").open && stop());
addEventListener("popstate", () => open(location.hash.slice(1), { push: false }));
addEventListener("pagehide", () => chat.turns.length && save({ now: true }));
start().catch((error) => at("welcome").append(made("p", { class: "notice bad", role: "alert" }, error.message)));
