// One turn on the screen: drawn once, then changed only where the turn has changed.

import { inline, markdown } from "./markdown.js";
import { headline, running, titled } from "./turn.js";

const DWELL = 300; // milliseconds that a headline can be read before the next one
const ENDS = {
  stopped: "Stopped.",
  lost: "The answer was interrupted, and the server no longer has it.",
  incomplete: "The limit on tokens was reached, so the answer was forced from what was thought.",
};

/** An element with attributes, and listeners where their names begin with "on". */
export function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** 1 843, as people read it. */
export function grouped(number) {
  return Math.round(number).toLocaleString("en-US").replaceAll(",", "\u202f");
}

/** 12 s, 3 min 20 s, or 0.4 s. */
export function lasting(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 60) return `${Math.round(seconds)}\u00a0s`;
  return `${Math.floor(seconds / 60)}\u00a0min ${Math.round(seconds % 60)}\u00a0s`;
}

/** Draws a turn; `actions` are retry(turn, effort), edit(turn, question), tree(turn), signIn(key), chosen(). */
export class TurnView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.shown = { headline: "", at: 0, answer: null, steps: [], raw: [], state: "" };
    this.element = made("li", { class: "turn", id: `turn-${turn.id}` }, this.drawQuestion(), this.drawReply());
    this.update();
  }

  drawQuestion() {
    this.bubble = made("div", { class: "bubble" }, this.turn.question);
    this.asked = made("div", { class: "asked" }, this.bubble,
      made("div", { class: "tools" }, button("Edit", "Edit the question and ask again", () => this.edit())));
    return this.asked;
  }

  drawReply() {
    const id = `steps-${this.turn.id}`;
    this.label = made("span", { class: "headline" });
    this.clock = made("span", { class: "clock" });
    this.fold = made("button", { type: "button", class: "fold", "aria-controls": id, onclick: () => this.toggle() },
      made("span", { class: "pulse", "aria-hidden": "true" }), this.label, this.clock, made("span", { class: "chevron", "aria-hidden": "true" }));
    this.steps = made("ol", { class: "steps", id });
    this.clip = made("div", { class: "clip" }, this.steps);
    this.tree = button("", "Draw what the search tried", () => this.actions.tree(this.turn));
    const head = made("div", { class: "head" }, this.fold, this.tree);
    this.thought = made("section", { class: "thought", "aria-label": "Thought" }, head, made("div", { class: "unfold" }, this.clip));
    this.answer = made("div", { class: "answer" });
    this.notice = made("div", { class: "notice" });
    this.foot = made("div", { class: "foot" });
    return made("div", { class: "reply" }, this.thought, this.answer, this.notice, this.foot);
  }

  toggle() {
    this.turn.open = !this.isOpen();
    this.update();
    this.actions.chosen();
  }

  isOpen() {
    return this.turn.open ?? this.turn.state === "thinking";
  }

  /** Show the turn as it is now. */
  update() {
    const { turn } = this;
    this.element.dataset.state = turn.state;
    this.element.setAttribute("aria-busy", running(turn));
    this.showThought();
    this.showSteps();
    if (turn.answer !== this.shown.answer) {
      this.shown.answer = turn.answer;
      this.answer.replaceChildren(markdown(turn.answer));
    }
    const end = `${turn.state} ${turn.error?.message ?? ""} ${turn.grade?.score ?? ""}`;
    if (end !== this.shown.state) {
      this.shown.state = end;
      this.showNotice();
      this.showFoot();
    }
  }

  showThought() {
    const { turn } = this;
    const thinking = turn.state === "thinking";
    const steps = turn.steps.length + turn.raw.length;
    this.thought.hidden = !thinking && !steps && !(turn.thinks && turn.state !== "failed" && turn.state !== "lost");
    this.thought.classList.toggle("thinking", thinking);
    this.fold.disabled = !steps;
    const open = this.isOpen() && steps > 0;
    this.thought.classList.toggle("open", open);
    this.thought.classList.toggle("chosen", turn.open === true);
    this.fold.setAttribute("aria-expanded", open);
    this.clip.inert = !open;
    const tried = turn.tree?.nodes.length ?? 0;
    this.tree.hidden = !tried || !branches(turn.tree);
    this.tree.textContent = `Tree of ${grouped(tried)}`;
    if (!thinking) {
      const tokens = turn.usage?.output_tokens_details?.reasoning_tokens;
      const counted = tokens ? ` · ${grouped(tokens)} tokens` : "";
      this.label.textContent = `Thought for ${lasting(turn.thought - turn.started)}${counted}`;
      this.clock.textContent = "";
      return;
    }
    const next = headline(turn) || (turn.tree ? "Searching…" : turn.thinks ? "Thinking…" : "Answering…");
    if (next !== this.shown.headline && performance.now() - this.shown.at >= DWELL) {
      Object.assign(this.shown, { headline: next, at: performance.now() });
      this.label.textContent = next;
    }
    this.clock.textContent = `${Math.floor((Date.now() - turn.started) / 1000)}\u00a0s`;
  }

  showSteps() {
    const { steps, raw } = this.turn;
    const rows = Math.max(steps.length, raw.length);
    const atEnd = this.clip.scrollHeight - this.clip.scrollTop - this.clip.clientHeight < 40;
    let changed = false;
    while (this.steps.children.length > rows) this.steps.lastChild.remove();
    for (let at = 0; at < rows; at += 1) {
      if (this.shown.steps[at] === steps[at] && this.shown.raw[at] === raw[at] && this.steps.children[at]) continue;
      changed = true;
      const row = step(steps[at] ?? "", raw[at]);
      if (this.steps.children[at]) this.steps.children[at].replaceWith(row);
      else this.steps.append(row);
    }
    this.shown.steps = [...steps];
    this.shown.raw = [...raw];
    if (changed && (atEnd || !this.turn.open) && this.turn.state === "thinking") this.clip.scrollTop = this.clip.scrollHeight;
    this.clip.classList.toggle("more", this.clip.scrollHeight > this.clip.clientHeight + 1);
  }

  showNotice() {
    const { turn, actions } = this;
    const told = turn.error?.message ?? ENDS[turn.state] ?? "";
    const parts = told ? [made("span", {}, told)] : [];
    if (turn.error?.request) parts.push(made("code", {}, turn.error.request));
    if (turn.error?.status === 401) parts.push(keyForm(actions.signIn));
    this.notice.replaceChildren(...parts);
    this.notice.hidden = !parts.length;
    this.notice.setAttribute("role", turn.error ? "alert" : "note");
    this.notice.classList.toggle("bad", turn.state === "failed");
  }

  showFoot() {
    const { turn, actions } = this;
    this.foot.hidden = running(turn);
    if (running(turn)) return;
    const facts = [];
    if (turn.by && turn.state !== "failed") {
      const chosen = [turn.model === "auto" && turn.by.model !== "auto", turn.effort === "auto" && turn.by.effort !== "auto"];
      facts.push(fact(turn.by.model, chosen[0] ? "The model that was chosen" : "The model"));
      if (turn.by.effort) facts.push(fact(chosen[1] ? `auto: ${turn.by.effort}` : turn.by.effort, chosen[1] ? "The effort that was chosen" : "The effort"));
    }
    if (turn.usage) {
      const { input_tokens: read, output_tokens: written, output_tokens_details: details } = turn.usage;
      const thought = details?.reasoning_tokens ?? 0;
      const title = `${grouped(read)} read, ${grouped(thought)} thought, ${grouped(written - thought)} answered`;
      facts.push(fact(`${grouped(turn.usage.total_tokens)} tokens`, title));
    }
    if (turn.cost) facts.push(fact(`$${turn.cost}`, "By the operator's prices"));
    if (turn.state !== "lost" && turn.state !== "failed") facts.push(fact(lasting(turn.ended - turn.started), "From question to answer"));
    if (turn.grade) facts.push(this.verdict());
    const tools = [button("Retry", "Ask the same again", () => actions.retry(turn))];
    if (turn.answer && navigator.clipboard) tools.unshift(copy(turn));
    if (turn.state === "incomplete") tools.push(button("Think longer", "Ask again with more effort", () => actions.retry(turn, "more")));
    this.foot.replaceChildren(made("div", { class: "facts" }, ...facts), made("div", { class: "tools" }, ...tools));
  }

  verdict() {
    const { score, note, answer } = this.turn.grade;
    const right = score === 1;
    const title = score === null ? note : right ? "The task's exact grader says so" : `${note ? `${note}. ` : ""}One right answer: ${answer}`;
    const element = fact(score === null ? "undecided" : right ? "✓ right" : "✗ wrong", title);
    element.classList.add(right ? "right" : "wrong");
    return element;
  }

  edit() {
    const box = made("textarea", { rows: Math.min(10, this.turn.question.split("\n").length + 1), "aria-label": "Edit the question" });
    box.value = this.turn.question;
    const close = () => {
      form.replaceWith(this.asked);
      this.asked.querySelector("button").focus();
    };
    const ask = () => box.value.trim() && this.actions.edit(this.turn, box.value.trim());
    const form = made("form", { class: "editing", onsubmit: (event) => (event.preventDefault(), ask()) }, box,
      made("div", { class: "tools" }, button("Cancel", "Leave the question as it was", close), made("button", { type: "submit", class: "strong" }, "Ask again")));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") (event.stopPropagation(), close());
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), ask());
    });
    this.asked.replaceWith(form);
    box.focus();
  }
}

/** Whether anything was tried side by side: a single chain is no tree. */
function branches({ nodes }) {
  return new Set(nodes.map((node) => node.parent)).size < nodes.length;
}

function step(text, raw) {
  const { title, text: rest } = titled(text);
  const row = made("li", { class: "step" });
  if (title) row.append(inline(title, made("strong")));
  if (rest) row.append(inline(rest, made("span", { class: "found" })));
  if (raw !== undefined) row.append(made("pre", { class: "raw", title: "Raw thoughts; later turns never read them" }, raw));
  return row;
}

function fact(text, title) {
  return made("span", { class: "fact", title }, text);
}

function button(text, title, act) {
  return made("button", { type: "button", class: "quiet", title, onclick: act }, text);
}

function copy(turn) {
  const element = button("Copy", "Copy the answer", async () => {
    await navigator.clipboard.writeText(turn.answer);
    element.textContent = "Copied";
    setTimeout(() => (element.textContent = "Copy"), 1500);
  });
  return element;
}

function keyForm(signIn) {
  const field = made("input", { type: "password", "aria-label": "API key", placeholder: "API key", autocomplete: "off" });
  return made("form", { class: "key", onsubmit: (event) => (event.preventDefault(), signIn(field.value.trim())) }, field,
    made("button", { type: "submit", class: "strong" }, "Use this key"));
}
