// TeX, as models write it, to MathML, which every browser draws by itself. What is not known is not guessed: it throws.

const SPACE = "http://www.w3.org/1998/Math/MathML";
const DEEPEST = 60;
const has = Object.hasOwn;

const LETTERS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ϵ", varepsilon: "ε", zeta: "ζ", eta: "η", theta: "θ",
  vartheta: "ϑ", iota: "ι", kappa: "κ", lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ",
  varsigma: "ς", tau: "τ", upsilon: "υ", phi: "ϕ", varphi: "φ", chi: "χ", psi: "ψ", omega: "ω", Gamma: "Γ",
  Delta: "Δ", Theta: "Θ", Lambda: "Λ", Xi: "Ξ", Pi: "Π", Sigma: "Σ", Phi: "Φ", Psi: "Ψ", Omega: "Ω", infty: "∞",
  ell: "ℓ", hbar: "ℏ", Re: "ℜ", Im: "ℑ", aleph: "ℵ", emptyset: "∅", varnothing: "∅", partial: "∂", nabla: "∇",
  top: "⊤", bot: "⊥", angle: "∠", triangle: "△", square: "□", blacksquare: "■", degree: "°", imath: "ı", jmath: "ȷ",
};
const OPERATORS = {
  cdot: "⋅", times: "×", div: "÷", pm: "±", mp: "∓", ast: "∗", star: "⋆", circ: "∘", bullet: "∙", oplus: "⊕",
  otimes: "⊗", cup: "∪", cap: "∩", setminus: "∖", land: "∧", wedge: "∧", lor: "∨", vee: "∨", neg: "¬", lnot: "¬",
  leq: "≤", le: "≤", geq: "≥", ge: "≥", neq: "≠", ne: "≠", equiv: "≡", approx: "≈", cong: "≅", sim: "∼", simeq: "≃",
  propto: "∝", ll: "≪", gg: "≫", subset: "⊂", subseteq: "⊆", supset: "⊃", supseteq: "⊇", in: "∈", notin: "∉",
  ni: "∋", mid: "∣", nmid: "∤", parallel: "∥", perp: "⊥", forall: "∀", exists: "∃", nexists: "∄", to: "→",
  rightarrow: "→", leftarrow: "←", leftrightarrow: "↔", Rightarrow: "⇒", Leftarrow: "⇐", Leftrightarrow: "⇔",
  implies: "⟹", impliedby: "⟸", iff: "⟺", mapsto: "↦", longrightarrow: "⟶", uparrow: "↑", downarrow: "↓",
  ldots: "…", cdots: "⋯", dots: "…", vdots: "⋮", ddots: "⋱", colon: ":", therefore: "∴", because: "∵", vdash: "⊢",
  models: "⊨", prime: "′", checkmark: "✓", "%": "%", "$": "$", "#": "#", "&": "&", "_": "_",
};
const FENCES = {
  "(": "(", ")": ")", "[": "[", "]": "]", "|": "|", "/": "/", "{": "{", "}": "}", "<": "⟨", ">": "⟩", ".": "",
  lbrace: "{", rbrace: "}", langle: "⟨", rangle: "⟩", lvert: "|", rvert: "|", lVert: "‖", rVert: "‖", vert: "|",
  Vert: "‖", lfloor: "⌊", rfloor: "⌋", lceil: "⌈", rceil: "⌉",
};
const SUMS = { sum: "∑", prod: "∏", int: "∫", oint: "∮", iint: "∬", bigcup: "⋃", bigcap: "⋂", bigoplus: "⨁" };
const LIMITS = ["lim", "max", "min", "sup", "inf", "gcd", "det", "Pr", "argmax", "argmin", "limsup", "liminf"];
const FUNCTIONS = [
  "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "lg",
  "exp", "dim", "ker", "deg", "arg", "mod", "lcm",
];
const BLANKS = { ",": 0.17, ":": 0.22, ";": 0.28, "!": -0.17, " ": 0.25, "~": 0.25, quad: 1, qquad: 2 };
const ACCENTS = {
  hat: "^", widehat: "^", bar: "¯", overline: "¯", vec: "→", tilde: "~", widetilde: "~", dot: "˙", ddot: "¨",
  overrightarrow: "→", overbrace: "⏞",
};
const BELOW = { underline: "_", underbrace: "⏟" };
const STYLES = { mathbb: 0x1d538, mathbf: 0x1d400, boldsymbol: 0x1d400, mathcal: 0x1d49c, mathfrak: 0x1d504, mathscr: 0x1d49c };
const ODD = {
  mathbb: { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" },
  mathcal: { B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ" },
  mathfrak: { C: "ℭ", H: "ℌ", I: "ℑ", R: "ℜ", Z: "ℨ" },
};
ODD.mathscr = ODD.mathcal;
const UPRIGHT = ["text", "textbf", "textit", "textrm", "mathrm", "mathsf", "mathtt", "mathit", "operatorname", "mbox"];
const NOTHING = ["displaystyle", "textstyle", "limits", "nolimits", "nonumber", "left.", "right."];
const GRIDS = {
  matrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], Bmatrix: ["{", "}"], vmatrix: ["|", "|"],
  Vmatrix: ["‖", "‖"], smallmatrix: ["", ""], cases: ["{", ""], aligned: ["", ""], align: ["", ""], split: ["", ""],
  "align*": ["", ""], gathered: ["", ""], array: ["", ""], equation: ["", ""], "equation*": ["", ""],
};

/** The <math> element of a formula; throws where it holds what is not known here. */
export function math(tex, display = false) {
  const parser = new Parser(tex);
  const row = parser.row(() => parser.at >= parser.tokens.length);
  const note = made("annotation", tex);
  note.setAttribute("encoding", "application/x-tex");
  const element = made("math", made("semantics", row, note));
  if (display) element.setAttribute("display", "block");
  return element;
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
  constructor(tex) {
    this.tokens = tex.match(/\\[a-zA-Z]+\*?|\\[\s\S]|\d+(?:[.,]\d+)*|\s+|[\s\S]/gu) ?? [];
    this.at = 0;
    this.depth = 0;
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

  /** What follows, up to where `over` says that it ends. */
  row(over) {
    if ((this.depth += 1) > DEEPEST) throw new Error("the formula is nested too deeply");
    const row = made("mrow");
    for (this.peek(); !over(); this.peek()) row.append(this.scripted());
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
    if (/^\d\d/.test(token ?? "")) {
      this.tokens[this.at] = token.slice(1);
      return made("mn", token[0]);
    }
    return this.one();
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
      text += token.replace(/^\\([ ,;:%$#&_{}])$/, (_, sign) => (/[,;:]/.test(sign) ? " " : sign));
    }
    this.at += 1;
    return text;
  }

  /** One thing with what stands above and below it. */
  scripted() {
    const base = this.one();
    let low = null;
    let high = null;
    for (;;) {
      const token = this.peek();
      if (token === "_" && !low) low = (this.next(), this.argument());
      else if (token === "^" && !high) high = (this.next(), this.argument());
      else if (token === "'" && (!high || high.dataset?.prime)) {
        this.next();
        high = high ? (high.append("′"), high) : set(made("mo", "′"), { "data-prime": "1" });
      } else if (token === "\\limits" || token === "\\nolimits") this.next();
      else break;
    }
    if (!low && !high) return base;
    const wide = base.dataset?.limits;
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
    if (/^\d/.test(token)) return made("mn", token);
    if (/^\p{L}$/u.test(token)) return made("mi", token);
    if (token === "}" || token === "&" || token === "^" || token === "_") throw new Error(`${token} is out of place`);
    if (token === "~") return blank("~");
    const sign = { "-": "−", "*": "∗" }[token] ?? token;
    return "()[]|/".includes(token) ? set(made("mo", sign), { stretchy: "false" }) : made("mo", sign);
  }

  command(name) {
    if (has(LETTERS, name)) return made("mi", LETTERS[name]);
    if (has(OPERATORS, name)) return made("mo", OPERATORS[name]);
    if (has(BLANKS, name)) return blank(name);
    if (has(SUMS, name)) return set(made("mo", SUMS[name]), name.includes("int") ? {} : { "data-limits": "1" });
    if (LIMITS.includes(name)) return set(made("mo", name), { "data-limits": "1", movablelimits: "true", rspace: "0.17em" });
    if (FUNCTIONS.includes(name)) return made("mrow", made("mi", name), set(made("mspace"), { width: "0.17em" }));
    if (has(ACCENTS, name)) return this.over(this.argument(), ACCENTS[name], name === "overbrace");
    if (has(BELOW, name)) return this.under(this.argument(), BELOW[name], name === "underbrace");
    if (has(STYLES, name)) return styled(name, this.words());
    if (UPRIGHT.includes(name)) return upright(name, this.words());
    if (NOTHING.includes(name)) return made("mrow");
    if (/^[bB]ig{1,2}[lrm]?$/.test(name)) return fence(this.next(), true);
    if (name === "|") return set(made("mo", "‖"), { stretchy: "false" });
    if (/^([{}]|[a-z]+)$/i.test(name) && has(FENCES, name)) return set(made("mo", FENCES[name]), { stretchy: "false" });
    return this.built(name);
  }

  built(name) {
    switch (name) {
      case "frac":
      case "dfrac":
      case "tfrac":
      case "cfrac":
        return made("mfrac", this.argument(), this.argument());
      case "binom":
      case "dbinom": {
        const pair = set(made("mfrac", this.argument(), this.argument()), { linethickness: "0" });
        return made("mrow", made("mo", "("), pair, made("mo", ")"));
      }
      case "sqrt": {
        if (this.peek() !== "[") return made("msqrt", this.argument());
        this.next();
        const index = this.row(() => this.peek() === "]");
        this.expect("]");
        return made("mroot", this.argument(), index);
      }
      case "left": {
        const left = fence(this.next());
        const inside = this.row(() => this.peek() === "\\right");
        this.expect("\\right");
        return made("mrow", left, inside, fence(this.next()));
      }
      case "overset":
      case "stackrel": {
        const above = this.argument();
        return made("mover", this.argument(), above);
      }
      case "underset": {
        const below = this.argument();
        return made("munder", this.argument(), below);
      }
      case "boxed":
      case "fbox":
        return set(made("mrow", this.argument()), { class: "boxed" });
      case "pmod":
        return made("mrow", made("mo", "("), made("mi", "mod"), blank(":"), this.argument(), made("mo", ")"));
      case "bmod":
        return made("mo", "mod");
      case "not":
        return made("mo", `${this.one().textContent}\u0338`);
      case "begin":
        return this.grid();
      default:
        throw new Error(`\\${name} is not known`);
    }
  }

  over(base, sign, limits) {
    const mark = set(made("mo", sign), { stretchy: sign.length && "¯→⏞".includes(sign) ? "true" : "false" });
    return set(made("mover", base, mark), limits ? { "data-limits": "1" } : { accent: "true" });
  }

  under(base, sign, limits) {
    return set(made("munder", base, set(made("mo", sign), { stretchy: "true" })), limits ? { "data-limits": "1" } : {});
  }

  grid() {
    const name = this.words();
    if (!has(GRIDS, name)) throw new Error(`the environment ${name} is not known`);
    if (name === "array") this.words();
    const table = made("mtable");
    const ends = () => this.peek() === "&" || this.peek() === "\\\\" || this.peek() === "\\end";
    for (let row = table.appendChild(made("mtr")); ; ) {
      row.append(made("mtd", this.row(ends)));
      const token = this.next();
      if (token === "\\end") break;
      if (token === "\\\\" && this.peek() !== "\\end") row = table.appendChild(made("mtr"));
    }
    const end = this.words();
    if (end !== name) throw new Error(`${name} ends as ${end}`);
    if (/align|split|cases/.test(name)) table.setAttribute("class", name === "cases" ? "cases" : "aligned");
    const [left, right] = GRIDS[name];
    return made("mrow", ...(left ? [made("mo", left)] : []), table, ...(right ? [made("mo", right)] : []));
  }
}

function blank(name) {
  return set(made("mspace"), { width: `${BLANKS[name]}em` });
}

function fence(token, fixed = false) {
  const name = token.replace(/^\\/, "");
  if (!has(FENCES, name)) throw new Error(`${token} is no bracket`);
  return set(made("mo", FENCES[name]), fixed ? { minsize: "1.4em" } : { stretchy: "true" });
}

function upright(name, text) {
  if (name === "operatorname") return made("mi", text);
  return text.trim().length > 1 || /^text|mbox/.test(name) ? made("mtext", text) : set(made("mi", text), { mathvariant: "normal" });
}

function styled(name, text) {
  const base = STYLES[name];
  const letters = [...text.replace(/\s/g, "")].map((one) => {
    if (ODD[name]?.[one]) return ODD[name][one];
    if (/[A-Z]/.test(one)) return String.fromCodePoint(base + one.charCodeAt(0) - 65);
    if (/[a-z]/.test(one)) return String.fromCodePoint(base + 26 + one.charCodeAt(0) - 97);
    if (/\d/.test(one) && /bf|bold/.test(name)) return String.fromCodePoint(0x1d7ce + Number(one));
    return one;
  });
  if (letters.some((one) => one === "\\")) throw new Error(`\\${name} of a command is not known`);
  return made("mi", letters.join(""));
}
