// The search tree of an answer: every candidate a dot in the colour of its rating, and the line that was kept.

import { grouped, made } from "./view.js";

const SPACE = "http://www.w3.org/2000/svg";
const EDGE = 34;
const KINDS = { block: "a block", answer: "an answer", end: "the end of a thought", lost: "lost" };

let drawn = null; // what the dialog shows: {dialog, turn, version, chosen}

/** Open the tree of a turn; it goes on growing while the turn does. */
export function showTree(dialog, turn) {
  drawn = { dialog, turn, version: "", chosen: null };
  dialog.showModal();
  redraw(turn);
}

/** Draw it anew, if it is open and this turn's. */
export function redraw(turn) {
  if (drawn?.turn !== turn || !turn.tree) return;
  const { nodes } = turn.tree;
  const version = `${nodes.length} ${Boolean(turn.tree.search)}`;
  if (version === drawn.version || !drawn.dialog.open) return;
  if (turn.tree.search && !drawn.version.endsWith("true")) drawn.chosen = null; // at the end all have other numbers
  drawn.version = version;
  const known = new Map(nodes.map((node) => [node.id, node]));
  const detail = made("div", { class: "tree-detail", role: "status" });
  const show = (node) => {
    detail.replaceChildren(...described(node, known));
    for (const dot of picture.querySelectorAll(".dot")) dot.classList.toggle("chosen", dot.dataset.id === String(node.id));
  };
  const picture = draw(nodes, known, (node) => show(known.get((drawn.chosen = node.id))));
  const wide = made("div", { class: "tree-wide" }, picture);
  drawn.dialog.querySelector("#tree-body").replaceChildren(counts(turn), wide, detail);
  const kept = nodes.filter((node) => node.kept).at(-1);
  const last = known.get(drawn.chosen) ?? kept ?? nodes.at(-1);
  if (last) show(last);
  if (!turn.tree.search) wide.scrollLeft = wide.scrollWidth;
  else if (kept) center(wide, [...picture.querySelectorAll(".dot.kept .mark")].map((mark) => mark.getBBox()));
}

/** Scroll so that the middle of these boxes is in the middle, and the last one in view. */
function center(wide, boxes) {
  const heights = boxes.map((box) => box.y);
  wide.scrollTop = (Math.min(...heights) + Math.max(...heights) - wide.clientHeight) / 2;
  wide.scrollLeft = boxes.at(-1).x + 2 * EDGE - wide.clientWidth;
}

function counts(turn) {
  const { nodes, search } = turn.tree;
  const sum = (some) => some.reduce((all, node) => all + (node.tokens ?? 0), 0);
  const kept = nodes.filter((node) => node.kept);
  const facts = [search ?? "searching…", `${grouped(nodes.length)} candidates`, `${grouped(sum(nodes))} tokens`];
  if (search) facts.push(`${grouped(kept.length)} kept, with ${grouped(sum(kept))} tokens`);
  const scale = made("span", { class: "scale" }, made("span", {}, "unlikely right"), made("i"), made("span", {}, "likely"));
  const rated = nodes.some((node) => node.value !== undefined);
  return made("div", { class: "facts dim small" }, ...facts.map((one) => made("span", { class: "fact" }, one)), ...(rated ? [scale] : []));
}

/** Rows and columns: a thought grows to the right, and what was tried side by side lies one below the other. */
function placed(nodes, known) {
  const below = new Map([[null, []]]);
  for (const node of nodes) below.set(node.id, []);
  for (const node of nodes) below.get(known.has(node.parent) ? node.parent : null).push(node);
  const order = [];
  const todo = below.get(null).toReversed();
  while (todo.length) {
    const node = todo.pop();
    order.push(node);
    todo.push(...below.get(node.id).toReversed());
  }
  const places = new Map();
  let rows = 0;
  for (const node of order) places.set(node.id, { x: (places.get(node.parent)?.x ?? 0) + 1, y: 0 });
  for (const node of order) if (!below.get(node.id).length) places.get(node.id).y = rows++;
  const middle = (children) => (places.get(children[0].id).y + places.get(children.at(-1).id).y) / 2;
  for (const node of order.toReversed()) if (below.get(node.id).length) places.get(node.id).y = middle(below.get(node.id));
  const root = { x: 0, y: below.get(null).length ? middle(below.get(null)) : 0 };
  return { places, root, below, rows: Math.max(rows, 1), columns: Math.max(0, ...[...places.values()].map((one) => one.x)) };
}

function draw(nodes, known, choose) {
  const { places, root, below, rows, columns } = placed(nodes, known);
  const step = Math.max(44, Math.min(150, (0.85 * Math.min(innerWidth, 1100)) / Math.max(columns, 1)));
  const row = Math.max(17, Math.min(30, (0.55 * innerHeight - 2 * EDGE) / rows));
  const svg = shape("svg", { width: 2 * EDGE + columns * step, height: 2 * EDGE + (rows - 1) * row, role: "group", "aria-label": "Candidates" });
  const at = (place) => [EDGE + place.x * step, EDGE + place.y * row];
  const lines = shape("g", { class: "lines" });
  for (const node of [...nodes].sort((a, b) => Number(a.kept ?? 0) - Number(b.kept ?? 0))) {
    const [x, y] = at(places.get(node.id));
    const [fromX, fromY] = at(places.get(node.parent) ?? root);
    const half = (fromX + x) / 2;
    lines.append(shape("path", { d: `M${fromX} ${fromY}C${half} ${fromY} ${half} ${y} ${x} ${y}`, class: node.kept ? "kept" : "" }));
  }
  svg.append(lines, question(at(root)));
  for (const node of nodes) svg.append(dot(node, at(places.get(node.id)), step, choose));
  svg.addEventListener("keydown", (event) => move(event, svg, known, below));
  svg.querySelector(".dot")?.setAttribute("tabindex", "0");
  return svg;
}

function question([x, y]) {
  const mark = shape("g", { class: "question" }, shape("rect", { x: x - 6, y: y - 6, width: 12, height: 12, rx: 3 }));
  mark.append(shape("title", {}, "The question"));
  return mark;
}

function dot(node, [x, y], step, choose) {
  const kind = `dot ${node.kind} ${node.kept ? "kept" : ""}`;
  const group = shape("g", { class: kind, tabindex: "-1", role: "button", "aria-label": spokenOf(node), "data-id": node.id });
  const tone = node.kept === false ? "45% 58%" : "66% 43%"; // what was discarded is paler
  const fill = node.value === undefined ? {} : { fill: `hsl(${Math.round(130 * node.value)} ${tone})` };
  const size = node.kind === "answer" ? { x: x - 7, y: y - 7, width: 14, height: 14, rx: 3 } : { cx: x, cy: y, r: 7 };
  group.append(shape(node.kind === "answer" ? "rect" : "circle", { ...size, ...fill, class: "mark" }));
  const title = node.kept ? (node.headline ?? (node.kind === "answer" ? node.answer : "")) : "";
  if (title && step >= 84) group.append(shape("text", { x, y: y - 12 }, cut(title, Math.floor(step / 6.4))));
  group.append(shape("title", {}, spokenOf(node)));
  group.addEventListener("click", () => choose(node));
  group.addEventListener("focus", () => choose(node));
  return group;
}

function spokenOf(node) {
  const parts = [`Candidate ${node.id}, ${KINDS[node.kind]}`];
  if (node.kept) parts.push("kept");
  if (node.value !== undefined) parts.push(`rated ${node.value.toFixed(2)}`);
  return parts.join(", ");
}

function described(node, known) {
  const facts = [`#${node.id}`, KINDS[node.kind], ...(node.kept ? ["kept"] : node.kept === false ? ["discarded"] : [])];
  if (node.value !== undefined) facts.push(`value ${node.value.toFixed(2)}`, `validity ${node.validity.toFixed(2)}`);
  facts.push(`${grouped(node.tokens ?? 0)} tokens`);
  if (node.visits) facts.push(`${grouped(node.visits)} visits`);
  if (node.same_as !== null && known.has(node.same_as)) facts.push(`reads the same as #${node.same_as}`);
  const hidden = node.kept === false && node.headline === undefined && node.answer === undefined;
  const title = node.headline ?? node.answer ?? (hidden ? "Its text is not shown: it was discarded." : "");
  const parts = [made("div", { class: "facts dim small" }, ...facts.map((one) => made("span", { class: "fact" }, one)))];
  if (title) parts.unshift(made(hidden ? "em" : "strong", { class: hidden ? "dim" : "" }, title));
  if (node.summary) parts.push(made("div", { class: "found" }, node.summary));
  return parts;
}

/** Arrows go along the tree: left and right along a thought, up and down among what was tried side by side. */
function move(event, svg, known, below) {
  const node = known.get(Number(event.target.dataset?.id));
  if (!node) return;
  const beside = below.get(known.has(node.parent) ? node.parent : null);
  const place = beside.indexOf(node);
  const goals = {
    ArrowLeft: known.get(node.parent), ArrowRight: below.get(node.id).find((one) => one.kept) ?? below.get(node.id)[0],
    ArrowUp: beside[place - 1], ArrowDown: beside[place + 1],
  };
  const goal = goals[event.key];
  if (!goal) return;
  event.preventDefault();
  event.target.setAttribute("tabindex", "-1");
  const next = svg.querySelector(`[data-id="${goal.id}"]`);
  next.setAttribute("tabindex", "0");
  next.focus();
}

function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

function shape(name, attributes, ...children) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
