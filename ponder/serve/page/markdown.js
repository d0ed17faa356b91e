// Markdown to nodes. Texts become text nodes and nothing else: there is no HTML to clean, because none is ever read.

import { math } from "./math.js";

const DEEPEST = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:\s+|$)/;
const ROW = /^\s*\|?.*\|.*$/;
const RULED = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DISPLAY =
  /^\s*(?:\$\$|\\\[|\\begin\{((?:align(?:ed|at)?|gather(?:ed)?|equation|multline|split|eqnarray|array|[dr]?cases|[pbBvV]?matrix)\*?)\})/;
const SAFE = /^(?:https?:\/\/|mailto:)/i;

/** The nodes of a text; while it is still being written, what is not closed is shown as if it ended here. */
export function markdown(text) {
  const whole = document.createDocumentFragment();
  blocks(text.replace(/\r\n?/g, "\n").split("\n"), whole, 0);
  return whole;
}

function made(name, ...children) {
  const element = document.createElement(name);
  element.append(...children);
  return element;
}

// Blocks

function blocks(lines, into, depth) {
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const reader = depth < DEEPEST && READERS.find(([starts]) => starts(line, lines[at + 1]));
    if (!line.trim()) at += 1;
    else if (reader) at = reader[1](lines, at, into, depth);
    else at = paragraph(lines, at, into);
  }
}

const READERS = [
  [(line) => FENCE.test(line), code],
  [(line) => DISPLAY.test(line), display],
  [(line) => HEADING.test(line), heading],
  [(line) => RULE.test(line), rule],
  [(line) => QUOTE.test(line), quote],
  [(line) => ITEM.test(line), list],
  [(line, next) => ROW.test(line) && line.includes("|") && next !== undefined && RULED.test(next) && next.includes("-"), table],
];

function code(lines, at, into) {
  const [, fence, language] = FENCE.exec(lines[at]);
  const end = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}\\s*$`);
  const text = [];
  for (at += 1; at < lines.length && !end.test(lines[at]); at += 1) text.push(lines[at]);
  const inside = made("code", text.join("\n"));
  if (language) inside.dataset.language = language;
  into.append(made("pre", inside));
  return at + 1;
}

function display(lines, at, into) {
  const start = lines[at].trim();
  const [, name] = DISPLAY.exec(start);
  const close = name ? `\\end{${name}}` : start.startsWith("$$") ? "$$" : "\\]";
  const text = [];
  let rest = name ? start : start.slice(2);
  for (;;) {
    const end = rest.indexOf(close);
    if (end >= 0) {
      text.push(rest.slice(0, name ? end + close.length : end));
      rest = rest.slice(end + close.length);
      break;
    }
    text.push(rest);
    at += 1;
    if (at >= lines.length) {
      rest = "";
      break;
    }
    rest = lines[at];
  }
  into.append(made("p", formula(text.join("\n"), true)));
  if (rest.trim()) into.append(inline(rest.trim(), made("p")));
  return at + 1;
}

function heading(lines, at, into) {
  const [, marks, text] = HEADING.exec(lines[at]);
  into.append(inline(text, made(`h${Math.min(6, marks.length + 2)}`)));
  return at + 1;
}

function rule(lines, at, into) {
  into.append(made("hr"));
  return at + 1;
}

function quote(lines, at, into, depth) {
  const inside = [];
  for (; at < lines.length && QUOTE.test(lines[at]); at += 1) inside.push(lines[at].replace(QUOTE, ""));
  const element = made("blockquote");
  blocks(inside, element, depth + 1);
  into.append(element);
  return at;
}

function list(lines, at, into, depth) {
  const first = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first[2]);
  const element = made(ordered ? "ol" : "ul");
  if (ordered && parseInt(first[2], 10) !== 1) element.start = parseInt(first[2], 10);
  while (at < lines.length) {
    const found = ITEM.exec(lines[at]);
    if (!found || /\d/.test(found[2]) !== ordered || RULE.test(lines[at])) break;
    const indent = Math.min(found[0].length, found[1].length + found[2].length + 4);
    const inside = [lines[at].slice(found[0].length)];
    for (at += 1; at < lines.length; at += 1) {
      const line = lines[at];
      const deeper = line.search(/\S/) >= Math.min(indent, 2 + found[1].length);
      if (line.trim() ? !deeper && (ITEM.test(line) || !inside.at(-1).trim() || starts(line)) : !inList(lines, at, indent)) break;
      inside.push(deeper ? line.slice(Math.min(indent, line.search(/\S/))) : line.trimStart());
    }
    const item = made("li");
    blocks(inside, item, depth + 1);
    // A tight item is a line, not a paragraph.
    if (item.firstChild?.nodeName === "P") item.firstChild.replaceWith(...item.firstChild.childNodes);
    element.append(item);
  }
  into.append(element);
  return at;
}

/** Whether a blank line is inside the list: because what follows it goes on with an item, or is the next one. */
function inList(lines, at, indent) {
  const next = lines.slice(at, at + 3).find((line) => line.trim());
  return next !== undefined && (next.search(/\S/) >= indent || ITEM.test(next));
}

function starts(line) {
  return FENCE.test(line) || HEADING.test(line) || QUOTE.test(line) || RULE.test(line);
}

function table(lines, at, into) {
  const sides = cells(lines[at + 1]).map((cell) => [cell.startsWith(":"), cell.endsWith(":")]);
  const row = (line, name) =>
    made("tr", ...cells(line).slice(0, sides.length).map((cell, number) => {
      const [left, right] = sides[number];
      const element = inline(cell, made(name));
      if (right) element.className = left ? "middle" : "right";
      return element;
    }));
  const body = made("tbody");
  const element = made("table", made("thead", row(lines[at], "th")), body);
  for (at += 2; at < lines.length && lines[at].trim() && lines[at].includes("|"); at += 1) body.append(row(lines[at], "td"));
  const wide = made("div", element);
  wide.className = "wide";
  into.append(wide);
  return at;
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraph(lines, at, into) {
  const text = [lines[at]];
  for (at += 1; at < lines.length && lines[at].trim(); at += 1) {
    if (READERS.some(([begins]) => begins(lines[at], lines[at + 1]))) break;
    text.push(lines[at]);
  }
  into.append(inline(text.map((line) => line.trimStart()).join("\n").trimEnd(), made("p")));
  return at;
}

// Within a line

function formula(tex, display) {
  try {
    return math(tex, display);
  } catch (error) {
    const shown = made("code", tex.trim());
    shown.title = `As it was written: ${error.message}.`;
    return shown;
  }
}

const SPANS = [
  { open: "**", name: "strong" }, { open: "__", name: "strong", words: true }, { open: "~~", name: "del" },
  { open: "*", name: "em" }, { open: "_", name: "em", words: true },
];
const STOPS = /[\\`$*_~[!h\n]/g;

/** Append a line's text to an element. */
export function inline(text, into, depth = 0) {
  const missing = new Set();
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) into.append(plain);
    plain = "";
  };
  while (at < text.length) {
    STOPS.lastIndex = at;
    const stop = STOPS.exec(text)?.index ?? text.length;
    plain += text.slice(at, stop);
    at = stop;
    if (at >= text.length) break;
    const found = depth < DEEPEST && span(text, at, missing, depth);
    if (found) {
      flush();
      into.append(found.node);
      at = found.end;
    } else {
      plain += text[at];
      at += 1;
    }
  }
  flush();
  return into;
}

/** What begins here, and where it ends; null where it is only a character. */
function span(text, at, missing, depth) {
  const sign = text[at];
  if (sign === "\n") return { node: made("br"), end: at + 1 };
  if (sign === "\\") return escaped(text, at, missing);
  if (sign === "`") return codeSpan(text, at, missing);
  if (sign === "$") return dollars(text, at, missing);
  if (sign === "h") return bare(text, at);
  if (sign === "[" || sign === "!") return link(text, at, missing, depth);
  for (const { open, name, words } of SPANS) {
    if (!text.startsWith(open, at) || missing.has(open)) continue;
    const before = text[at - 1] ?? " ";
    // 2*3*4 is a product: signs between words and numbers stay what they are.
    if (/[\p{L}\p{N})\]]/u.test(before) || (words && before === "_") || /\s|^$/.test(text[at + open.length] ?? "")) return null;
    const end = closing(text, at + open.length, open);
    if (end < 0) {
      missing.add(open);
      continue;
    }
    return { node: inline(text.slice(at + open.length, end), made(name), depth + 1), end: end + open.length };
  }
  return null;
}

function closing(text, from, open) {
  for (let end = text.indexOf(open, from + 1); end >= 0; end = text.indexOf(open, end + 1)) {
    const after = text[end + open.length] ?? " ";
    const doubled = open.length === 1 && (after === open || text[end - 1] === open);
    if (!/\s/.test(text[end - 1]) && !/[\p{L}\p{N}(]/u.test(after) && !doubled) return end;
  }
  return -1;
}

function escaped(text, at, missing) {
  const next = text[at + 1] ?? "";
  if (next === "(" || next === "[") {
    const close = next === "(" ? "\\)" : "\\]";
    const end = missing.has(close) ? -1 : text.indexOf(close, at + 2);
    if (end >= 0) return { node: formula(text.slice(at + 2, end), next === "["), end: end + 2 };
    missing.add(close);
  }
  if (next === "\n") return { node: made("br"), end: at + 2 };
  return /[!-/:-@[-`{-~]/.test(next) ? { node: document.createTextNode(next), end: at + 2 } : null;
}

function codeSpan(text, at, missing) {
  const ticks = /^`+/.exec(text.slice(at, at + 32))[0];
  if (missing.has(ticks)) return null;
  for (let end = text.indexOf(ticks, at + ticks.length); end >= 0; end = text.indexOf(ticks, end + 1)) {
    if (text[end + ticks.length] === "`" || text[end - 1] === "`") continue;
    const inside = text.slice(at + ticks.length, end).replaceAll("\n", " ");
    const trimmed = /^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside;
    return { node: made("code", trimmed), end: end + ticks.length };
  }
  missing.add(ticks);
  return null;
}

/** $x$, but not "$5 and $10": what is inside touches both signs, and no digit follows. */
function dollars(text, at, missing) {
  const double = text.startsWith("$$", at);
  const open = double ? "$$" : "$";
  if (missing.has(open) || (!double && /\s|^$/.test(text[at + 1] ?? ""))) return null;
  for (let end = text.indexOf(open, at + open.length + 1); end >= 0; end = text.indexOf(open, end + 1)) {
    if (text[end - 1] === "\\") continue;
    if (!double && (/\s/.test(text[end - 1]) || /\d/.test(text[end + 1] ?? ""))) return null;
    return { node: formula(text.slice(at + open.length, end), double), end: end + open.length };
  }
  missing.add(open);
  return null;
}

function link(text, at, missing, depth) {
  const image = text[at] === "!";
  const start = image ? at + 1 : at;
  if (text[start] !== "[" || missing.has("](")) return null;
  const middle = text.indexOf("](", start);
  if (middle < 0) {
    missing.add("](");
    return null;
  }
  const end = text.indexOf(")", middle);
  const [address] = end < 0 ? [""] : text.slice(middle + 2, end).trim().split(/\s/);
  if (!SAFE.test(address) || text.slice(start, middle).includes("\n")) return null;
  return { node: anchor(address, inline(text.slice(start + 1, middle), made("span"), depth + 1)), end: end + 1 };
}

function bare(text, at) {
  if (!text.startsWith("http", at) || /[\p{L}\p{N}]/u.test(text[at - 1] ?? " ")) return null;
  const found = /^https?:\/\/[^\s<>"'`]{1,2000}/i.exec(text.slice(at, at + 2010));
  const address = found?.[0].replace(/[.,;:!?)\]*_~]+$/, "");
  return address && address.length > 8 ? { node: anchor(address, address), end: at + address.length } : null;
}

function anchor(address, inside) {
  const element = made("a", inside);
  element.href = address;
  element.title = address;
  element.target = "_blank";
  element.rel = "noopener noreferrer nofollow";
  return element;
}
