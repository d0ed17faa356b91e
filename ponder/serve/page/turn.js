// One question with what became of it, as a plain value that can be kept: events go in, and nothing here is drawn.

export const RUNNING = ["thinking", "answering"];

/** A name that nothing else has. */
export function fresh() {
  return `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 10)}`;
}

/** A question that is about to be asked; `open` is whether the user unfolded its thought, null before that. */
export function asked(question, { effort, model }, example = null) {
  return {
    id: fresh(), question, example, effort, model, state: "thinking", started: Date.now(), thought: null, ended: null,
    response: null, seq: -1, thinks: effort !== "none", steps: [], raw: [], answer: "", by: null, usage: null, cost: null,
    error: null, tree: null, grade: null, open: null, dropped: false,
  };
}

/** Whether it is still being written. */
export function running(turn) {
  return RUNNING.includes(turn.state);
}

/** A step's title and what is known after it, from the text of its summary. */
export function titled(text) {
  const found = /^\*\*([^]*?)\*\*\s*([^]*)$/.exec(text);
  return found ? { title: found[1], text: found[2] } : { title: "", text: text.replace(/^\*\*/, "") };
}

/** The newest title, or nothing. */
export function headline(turn) {
  for (let at = turn.steps.length - 1; at >= 0; at -= 1) {
    const { title, text } = titled(turn.steps[at]);
    if (title || text) return title || text;
  }
  return "";
}

/** Let one event of the response change the turn. */
export function take(turn, event) {
  if (event.sequence_number !== undefined) {
    if (event.sequence_number <= turn.seq) return;
    turn.seq = event.sequence_number;
  }
  const kind = event.type ?? "";
  if (event.error && !kind) fail(turn, event.error);
  else if (kind === "error") turn.error = { message: event.message, code: event.code };
  else if (kind === "response.reasoning_summary_text.delta") turn.steps[event.summary_index] = (turn.steps[event.summary_index] ?? "") + event.delta;
  else if (kind === "response.reasoning_text.delta") turn.raw[event.content_index] = (turn.raw[event.content_index] ?? "") + event.delta;
  else if (kind === "response.output_text.delta") turn.answer += event.delta;
  else if (kind === "response.output_item.added" && event.item.type === "reasoning") turn.thinks = true;
  else if (kind === "response.output_item.added" && event.item.type === "message") answering(turn);
  else if (kind === "ponder.tree.grown") (turn.tree ??= { nodes: [] }).nodes.push(event.node);
  else if (event.response) respond(turn, kind, event.response);
}

function answering(turn) {
  turn.state = "answering";
  turn.thought ??= Date.now();
}

function respond(turn, kind, response) {
  turn.response = response.id;
  turn.by = { model: response.model, effort: response.reasoning?.effort ?? null };
  if (kind === "response.created" || kind === "response.in_progress" || kind === "response.queued") return;
  const said = response.output?.filter((item) => item.type === "message").at(-1);
  const reasoning = response.output?.find((item) => item.type === "reasoning");
  if (said) turn.answer = said.content.map((part) => part.text ?? part.refusal ?? "").join("");
  if (reasoning?.summary?.length) turn.steps = reasoning.summary.map((part) => part.text);
  if (reasoning?.content?.length) turn.raw = reasoning.content.map((part) => part.text);
  turn.thinks = Boolean(reasoning) || turn.steps.length > 0;
  turn.usage = response.usage;
  turn.cost = response.usage?.x_ponder_cost ?? null;
  turn.tree = response.x_ponder_tree ?? turn.tree;
  const ends = { completed: "done", incomplete: "incomplete", cancelled: "stopped", failed: "failed" };
  end(turn, ends[response.status] ?? "lost");
  if (response.status === "failed") turn.error ??= { message: response.error?.message ?? "The model failed." };
}

/** It is over, in one of the states done, incomplete, stopped, failed and lost. */
export function end(turn, state) {
  turn.state = state;
  turn.ended ??= Date.now();
  turn.thought ??= turn.ended;
}

/** It is over because of an error. */
export function fail(turn, { message, code = null, request = null, status = 0 }) {
  turn.error = { message, code, request, status };
  end(turn, "failed");
}

/** What the model is to read of a conversation: what was said, never what was thought. */
export function spoken(turns) {
  const items = [];
  for (const turn of turns) {
    items.push({ role: "user", content: turn.question });
    if (turn.answer) items.push({ role: "assistant", content: turn.answer });
  }
  return items;
}
