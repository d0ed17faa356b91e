// TeX, as models write it, to MathML, which every browser draws by itself. What is not known is not guessed: it throws,
// and the formula is shown as it was written.
//
// Why not KaTeX: it would have to come from elsewhere, or be copied here as a megabyte of scripts, styles and fonts that
// nobody in this project reads, and a policy of `default-src 'self'` has no room for the styles that it writes. What
// answers hold is a small part of TeX, and all browsers have drawn MathML since 2023. Tables of names are in symbols.js;
// a command with arguments is one line of BUILT.

import {
  ACCENTS, BELOW, BLANKS, EMS, FENCES, FUNCTIONS, GRIDS, INFIX, LENGTH, LETTERS, LIMITS, LONGEST, NOTHING, OPERATORS, PLAIN,
  STYLES, SUMS, UPRIGHT, WIDE_ARROWS, WORDS,
} from "./symbols.js";

const SPACE = "http://www.w3.org/1998/Math/MathML";
const DEEPEST = 60;
const TOKENS = /\\[a-zA-Z]+|\\[\s\S]|\d+(?:(?:[.,]|\{,\})\d+)*(?:\.(?=\\(?:overline|bar|dot)))?|\s+|[\s\S]/gu;
const has = Object.hasOwn;

/** The <math> element of a formula; throws where it holds what is not known here. */
export function math(tex, display = false) {
  const note = set(made("annotation", tex), { encoding: "application/x-tex" });
  const element = made("math", made("semantics", new Parser(tex).whole(), note));
  return display ? set(element, { display: "block" }) : element;
}

function made(name, ...children) {
  const element = document.createElementNS(SPACE, name);
  element.append(...children);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

class Parser {
  constructor(tex, depth = 0) {
    this.tokens = tex.match(TOKENS) ?? [];
    this.at = 0;
    this.depth = depth;
  }

  peek() {
    while (/^\s+$/.test(this.tokens[this.at] ?? "")) this.at += 1;
    return this.tokens[this.at];
  }

  next() {
    const token = this.peek();
    if (token === undefined) throw new Error("the formula ends too early");
    this.at += 1;
    return token;
  }

  expect(wanted) {
    const token = this.next();
    if (token !== wanted) throw new Error(`${wanted} is missing before ${token}`);
  }

  /** Take this token, if it is next. */
  took(wanted) {
    const found = this.peek() === wanted;
    if (found) this.at += 1;
    return found;
  }

  /** Everything; lines that are broken by hand stand one below the other. */
  whole() {
    const over = () => this.peek() === undefined || this.peek() === "\\\\";
    const lines = [this.row(over)];
    while (this.took("\\\\")) lines.push(this.row(over));
    return lines.length === 1 ? lines[0] : set(made("mtable", ...lines.map((line) => made("mtr", made("mtd", line)))), { displaystyle: "true" });
  }

  /** What follows, up to where `over` says that it ends. */
  row(over) {
    if ((this.depth += 1) > DEEPEST) throw new Error("the formula is nested too deeply");
    const row = made("mrow");
    for (this.peek(); !over(); this.peek()) {
      const infix = this.tokens[this.at]?.slice(1);
      if (this.tokens[this.at]?.[0] === "\\" && has(INFIX, infix)) {
        this.at += 1;
        const pair = set(made("mfrac", made("mrow", ...row.childNodes), this.row(over)), INFIX[infix]);
        row.append(...(infix === "choose" ? [made("mo", "("), pair, made("mo", ")")] : [pair]));
      } else row.append(this.scripted());
    }
    this.depth -= 1;
    return row.childNodes.length === 1 ? row.firstChild : row;
  }

  group() {
    this.expect("{");
    const inside = this.row(() => this.peek() === "}");
    this.expect("}");
    return inside;
  }

  /** The next argument of a command: a group, or one token. */
  argument() {
    if (this.peek() === "{") return this.group();
    const token = this.tokens[this.at];
    if (/^\d./.test(token ?? "")) {
      this.tokens[this.at] = token.slice(1);
      return made("mn", token[0]);
    }
    return this.one();
  }

  /** An argument in square brackets; null where there is none. */
  optional() {
    if (!this.took("[")) return null;
    const inside = this.row(() => this.peek() === "]");
    this.expect("]");
    return inside;
  }

  /** The raw text of a group. */
  words() {
    this.expect("{");
    let text = "";
    for (let open = 1; ; this.at += 1) {
      const token = this.tokens[this.at];
      if (token === undefined) throw new Error("} is missing");
      open += (token === "{") - (token === "}");
      if (open === 0) break;
      text += token;
    }
    this.at += 1;
    return text;
  }

  /** One thing with what stands above and below it. */
  scripted() {
    const base = "^_".includes(this.peek()) ? made("mrow") : this.one();
    let wide = Boolean(base.dataset?.limits);
    let low = null;
    let high = null;
    for (;;) {
      const token = this.peek();
      if (token === "_" && !low) low = (this.next(), this.argument());
      else if (token === "^" && (!high || high.dataset?.prime)) {
        this.next();
        high = high ? made("mrow", high, this.argument()) : this.argument();
      } else if (token === "'" && (!high || high.dataset?.prime)) {
        this.next();
        high = high ? (high.append("′"), high) : set(made("mo", "′"), { "data-prime": "1" });
      } else if (token === "\\limits" || token === "\\nolimits") wide = this.next() === "\\limits";
      else if (token === "_" || token === "^") throw new Error(`${token} is there twice`);
      else break;
    }
    if (!low && !high) return base;
    if (low && high) return made(wide ? "munderover" : "msubsup", base, low, high);
    return low ? made(wide ? "munder" : "msub", base, low) : made(wide ? "mover" : "msup", base, high);
  }

  one() {
    const token = this.next();
    if (token === "{") {
      this.at -= 1;
      return this.group();
    }
    if (token.startsWith("\\")) return this.command(token.slice(1));
    if (/^\p{N}/u.test(token)) return made("mn", token.replaceAll("{,}", ","));
    if (/^\p{L}$/u.test(token)) return made("mi", token);
    if ("}&^_#".includes(token)) throw new Error(`${token} is out of place`);
    if (token === "~") return blank(BLANKS["~"]);
    const sign = { "-": "−", "*": "∗", "'": "′" }[token] ?? token;
    return "()[]|/".includes(token) ? set(made("mo", sign), { stretchy: "false" }) : made("mo", sign);
  }

  command(name) {
    if (has(BUILT, name)) return BUILT[name](this);
    if (has(LETTERS, name)) return made("mi", LETTERS[name]);
    if (has(OPERATORS, name)) return made("mo", OPERATORS[name]);
    if (has(BLANKS, name)) return blank(BLANKS[name]);
    if (has(SUMS, name)) return set(made("mo", SUMS[name]), name.includes("int") ? {} : { "data-limits": "1" });
    if (has(LIMITS, name)) return word(LIMITS[name], true);
    if (FUNCTIONS.includes(name)) return word(name, false, this.peek());
    if (has(ACCENTS, name)) return over(this.argument(), ACCENTS[name], name.startsWith("overb"));
    if (has(BELOW, name)) return under(this.argument(), BELOW[name], name.startsWith("underb"));
    if (has(WIDE_ARROWS, name)) return this.wide(WIDE_ARROWS[name]);
    if (has(STYLES, name)) return styled(STYLES[name], this.argument());
    if (has(WORDS, name)) return this.text(WORDS[name]);
    if (NOTHING.includes(name)) return made("mrow");
    if (has(UPRIGHT, name)) return this.upright(UPRIGHT[name]);
    if (PLAIN.includes(name)) return made("mrow", this.argument());
    if (/^[bB]ig{1,2}[lrm]?$/.test(name)) return fence(this.next(), { minsize: "1.4em" });
    if (/^([{}|]|[a-z]+)$/i.test(name) && (name === "|" || has(FENCES, name))) return fence(`\\${name}`, { stretchy: "false" });
    throw new Error(`\\${name} is not known`);
  }

  /** Text, with the formulas in it. */
  text(kind) {
    const parts = this.words().split(/(?<!\\)\$/).map((part, at) => {
      if (at % 2) return new Parser(part, this.depth).whole();
      const text = plain(part).replace(/~|^ | $/g, "\u00a0");
      if (text.includes("\\")) throw new Error(`${text} is no plain text`);
      return set(made("mtext", text), kind ? { class: kind } : {});
    });
    return parts.length === 1 ? parts[0] : made("mrow", ...parts);
  }

  /** Letters that belong together, or a formula of single ones. */
  upright(kind) {
    const words = this.peek() === "{" ? this.words() : this.next();
    const text = plain(words);
    if (/[\\^_{}$]/.test(text)) {
      const whole = new Parser(words, this.depth).whole();
      for (const one of whole.querySelectorAll("mi")) set(one, { mathvariant: "normal" });
      return whole;
    }
    const element = text.trim().length > 1 ? made("mtext", text) : set(made("mi", text), { mathvariant: "normal" });
    return set(element, kind ? { class: kind } : {});
  }

  wide(sign) {
    const low = this.optional();
    const high = made("mrow", blank(0.5), this.argument(), blank(0.5));
    const arrow = set(made("mo", sign), { stretchy: "true" });
    return low ? made("munderover", arrow, low, high) : made("mover", arrow, high);
  }

  left() {
    const left = fence(this.next());
    const inside = this.row(() => this.peek() === "\\right");
    this.expect("\\right");
    return made("mrow", left, inside, fence(this.next()));
  }

  /** A table between \begin and \end. */
  grid() {
    const name = this.words();
    const kind = name.replace(/\*$/, "");
    if (!has(GRIDS, kind)) throw new Error(`the environment ${name} is not known`);
    const columns = /array$|^alignat/.test(kind) ? this.words() : "";
    if (/^[a-z]+\*$|ed$/.test(name)) this.optional();
    const sides = kind.endsWith("array") ? sided(columns) : [];
    const table = this.rows(() => this.took("\\end"), sides);
    const end = this.words();
    if (end !== name) throw new Error(`${name} ends as ${end}`);
    if (/align|split|cases/.test(kind)) table.setAttribute("class", kind.endsWith("cases") ? "cases" : "aligned");
    if (/align|split|gather|equation|multline|^[dr]cases/.test(kind)) table.setAttribute("displaystyle", "true");
    const [left, right] = GRIDS[kind];
    return made("mrow", ...(left ? [made("mo", left)] : []), table, ...(right ? [made("mo", right)] : []));
  }

  /** Rows of cells, up to where `over` says that they end. */
  rows(over, sides = []) {
    const table = made("mtable");
    const ends = () => ["&", "\\\\", "\\end", "}"].includes(this.peek());
    this.ruled();
    for (let row = table.appendChild(made("mtr")); ; ) {
      const side = sides[row.childNodes.length];
      row.append(set(made("mtd", this.row(ends)), side ? { class: side } : {}));
      if (over()) break;
      const token = this.next();
      if (token === "&") continue;
      if (token !== "\\\\") throw new Error(`${token} is out of place`);
      this.took("*");
      if (this.peek() === "[" && LENGTH.test(this.ahead("]"))) this.at = this.tokens.indexOf("]", this.at) + 1; // \\[4pt]
      this.ruled();
      if (over()) break;
      row = table.appendChild(made("mtr"));
    }
    return table;
  }

  /** Pass over the lines between rows. */
  ruled() {
    for (let rule; (rule = /^\\(?:hline|(?:top|mid|bottom)rule|(cline|cmidrule))$/.exec(this.peek() ?? "")); ) {
      this.at += 1;
      if (rule[1]) this.words();
    }
  }

  /** What stands between the next token and this one. */
  ahead(close) {
    return this.tokens.slice(this.at + 1, this.tokens.indexOf(close, this.at)).join("");
  }
}

/** Commands with arguments, by what they are made of. */
const BUILT = {
  ...same("frac tfrac", (tex) => made("mfrac", tex.argument(), tex.argument())),
  ...same("dfrac cfrac", (tex) => set(made("mfrac", tex.argument(), tex.argument()), { displaystyle: "true" })),
  ...same("nicefrac sfrac", (tex) => made("mrow", tex.argument(), made("mo", "/"), tex.argument())),
  ...same("binom dbinom tbinom", (tex) => {
    const pair = set(made("mfrac", tex.argument(), tex.argument()), { linethickness: "0" });
    return made("mrow", made("mo", "("), pair, made("mo", ")"));
  }),
  sqrt: (tex) => {
    const index = tex.optional();
    return index ? made("mroot", tex.argument(), index) : made("msqrt", tex.argument());
  },
  left: (tex) => tex.left(),
  middle: (tex) => fence(tex.next()),
  ...same("overset stackrel", (tex) => {
    const above = tex.argument();
    return made("mover", tex.argument(), above);
  }),
  underset: (tex) => {
    const below = tex.argument();
    return made("munder", tex.argument(), below);
  },
  substack: (tex) => (tex.expect("{"), tex.rows(() => tex.took("}"))),
  ...same("boxed fbox framebox", (tex) => set(made("mrow", tex.argument()), { class: "boxed" })),
  // Drawn by the page: few fonts have a bar that grows.
  overline: (tex) => set(made("mrow", tex.argument()), { class: "overlined" }),
  ...same("underline underbar", (tex) => set(made("mrow", tex.argument()), { class: "underlined" })),
  ...same("cancel bcancel xcancel sout", (tex) => set(made("mrow", tex.argument()), { class: "cancelled" })),
  cancelto: (tex) => {
    const to = tex.argument();
    return made("msup", set(made("mrow", tex.argument()), { class: "cancelled" }), to);
  },
  ...same("phantom hphantom vphantom", (tex) => made("mphantom", tex.argument())),
  ...same("pmod pod", (tex) => made("mrow", made("mo", "("), made("mi", "mod"), blank(BLANKS[":"]), tex.argument(), made("mo", ")"))),
  bmod: () => made("mo", "mod"),
  not: (tex) => made("mo", `${tex.one().textContent}\u0338`.normalize("NFC")),
  mathop: (tex) => set(made("mrow", tex.argument()), { "data-limits": "1" }),
  operatorname: (tex) => {
    const wide = tex.took("*");
    const name = plain(tex.words());
    if (name.includes("\\")) throw new Error(`${name} is no name`);
    return word(name, wide, tex.peek());
  },
  tag: (tex) => {
    const bare = tex.took("*");
    const label = tex.words();
    return made("mrow", blank(BLANKS.qquad), made("mtext", bare ? label : `(${label})`));
  },
  // Colours are the page's: what was to be coloured is drawn like the rest.
  color: (tex) => (tex.words(), made("mrow")),
  ...same("textcolor colorbox", (tex) => (tex.words(), made("mrow", tex.argument()))),
  ...same("hspace hskip kern mkern mspace", (tex) => {
    tex.took("*");
    const [, size, unit] = LENGTH.exec(tex.words().trim()) ?? [];
    if (!unit) throw new Error("a length is missing");
    return blank(Math.min(LONGEST, Number(size) * EMS[unit]));
  }),
  ...same("label vspace", (tex) => (tex.took("*"), tex.words(), made("mrow"))),
  begin: (tex) => tex.grid(),
};

/** One maker under several names. */
function same(names, make) {
  return Object.fromEntries(names.split(" ").map((name) => [name, make]));
}

function blank(ems) {
  return set(made("mspace"), { width: `${Number(ems.toFixed(2))}em` });
}

/** The name of a function, with a little room around it, but before a bracket. */
function word(name, limits, next = "") {
  const room = { lspace: "0.17em", rspace: /^(?:[([]|\\left)$/.test(next) ? "0" : "0.17em", form: "prefix" };
  return set(made("mo", name), limits ? { ...room, "data-limits": "1", movablelimits: "true" } : room);
}

function over(base, sign, wide) {
  const mark = set(made("mo", sign), { stretchy: "→←↔⏞⎴⏜".includes(sign) ? "true" : "false" });
  return set(made("mover", base, mark), wide ? { "data-limits": "1" } : { accent: "true" });
}

function under(base, sign, wide) {
  return set(made("munder", base, set(made("mo", sign), { stretchy: "true" })), wide ? { "data-limits": "1" } : {});
}

function fence(token, how = { stretchy: "true" }) {
  const name = has(FENCES, token) ? token : token.replace(/^\\/, "");
  if (!has(FENCES, name)) throw new Error(`${token} is no bracket`);
  return set(made("mo", FENCES[name]), how);
}

/** Where the columns of an array stand, and which have a line to their left: "{c|r}". */
function sided(columns) {
  return (columns.replace(/[^lcr|]/g, "").match(/\|*[lcr]/g) ?? []).map((one) => `${{ l: "left", r: "right" }[one.at(-1)] ?? ""} ${one.length > 1 ? "ruled" : ""}`.trim());
}

/** Text without the commands that only dress it: "\," is a space, and "\%" the sign itself. */
function plain(text) {
  const spelled = (_, sign) => (",;:".includes(sign) ? " " : sign === "!" ? "" : sign);
  return text.replace(/\\(?:text\w*|emph|mathrm)\{([^{}]*)\}/g, "$1").replace(/\\([ ,;:!%$#&_{}])/g, spelled);
}

/** The same formula in other letters; what has none of that kind stays as it is. */
function styled(kind, element) {
  const leaves = element.childElementCount ? [...element.querySelectorAll("mi, mn")] : [element];
  for (const leaf of leaves) leaf.textContent = [...leaf.textContent].map((one) => letter(kind, one)).join("");
  return element;
}

function letter(kind, one) {
  const odd = kind.odd.indexOf(one);
  if (odd >= 0) return kind.odd[odd + 1];
  for (const [first, last] of ["AZ", "az", "09", "ΑΩ", "αω"]) {
    if (one >= first && one <= last && kind[first]) return String.fromCodePoint(kind[first] + one.codePointAt(0) - first.codePointAt(0));
  }
  return one;
}
