// The TeX commands that stand for one sign, or for a word: their names, and what is drawn.

/** "alpha α beta β", as a table. */
function table(text) {
  const words = text.trim().split(/\s+/);
  return Object.fromEntries(words.flatMap((name, at) => (at % 2 ? [] : [[name, words[at + 1]]])));
}

/** Drawn as variables. */
export const LETTERS = table(`
  alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ varkappa ϰ lambda λ
  mu μ nu ν xi ξ omicron ο pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω
  Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω digamma ϝ
  infty ∞ ell ℓ hbar ℏ hslash ℏ Re ℜ Im ℑ wp ℘ aleph ℵ beth ℶ gimel ℷ mho ℧ emptyset ∅ varnothing ∅ partial ∂ nabla ∇ surd √
  top ⊤ bot ⊥ angle ∠ measuredangle ∡ triangle △ square □ Box □ blacksquare ■ qed ■ Diamond ◇ lozenge ◊ bigstar ★
  blacktriangle ▲ degree ° textdegree ° imath ı jmath ȷ flat ♭ natural ♮ sharp ♯ clubsuit ♣ diamondsuit ♢ heartsuit ♡ spadesuit ♠
  pounds £ euro € yen ¥ copyright © checkmark ✓ backslash \\ S § P ¶ aa å ss ß
`);

/** Drawn as operators, relations, arrows and dots. */
export const OPERATORS = table(`
  cdot ⋅ cdotp ⋅ centerdot ⋅ times × div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ∘ bigcirc ◯ bullet ∙ oplus ⊕ ominus ⊖ otimes ⊗ oslash ⊘
  odot ⊙ boxplus ⊞ boxminus ⊟ boxtimes ⊠ cup ∪ cap ∩ uplus ⊎ sqcup ⊔ sqcap ⊓ setminus ∖ smallsetminus ∖ land ∧ wedge ∧ lor ∨
  vee ∨ veebar ⊻ neg ¬ lnot ¬ dagger † dag † ddagger ‡ ddag ‡ amalg ⨿ wr ≀ ltimes ⋉ rtimes ⋊ diamond ⋄ triangleleft ◁
  triangleright ▷ bowtie ⋈ frown ⌢ smile ⌣ And &
  lt < gt > leq ≤ le ≤ leqslant ⩽ leqq ≦ geq ≥ ge ≥ geqslant ⩾ geqq ≧ neq ≠ ne ≠ nless ≮ ngtr ≯ nleq ≰ ngeq ≱ lesssim ≲
  gtrsim ≳ lessgtr ≶ gtrless ≷ lneq ⪇ gneq ⪈ ll ≪ gg ≫ lll ⋘ ggg ⋙ prec ≺ succ ≻ preceq ⪯ succeq ⪰ equiv ≡ approx ≈ approxeq ≊
  thickapprox ≈ cong ≅ ncong ≇ sim ∼ nsim ≁ simeq ≃ thicksim ∼ asymp ≍ doteq ≐ triangleq ≜ coloneqq ≔ coloneq ≔ eqqcolon ≕
  vcentcolon : colon : propto ∝ varpropto ∝ subset ⊂ subseteq ⊆ subsetneq ⊊ subseteqq ⫅ supset ⊃ supseteq ⊇ supsetneq ⊋
  nsubseteq ⊈ nsupseteq ⊉ sqsubseteq ⊑ sqsupseteq ⊒ in ∈ notin ∉ ni ∋ owns ∋ mid ∣ nmid ∤ divides ∣ parallel ∥ nparallel ∦
  perp ⊥ vdash ⊢ nvdash ⊬ dashv ⊣ vDash ⊨ Vdash ⊩ models ⊨ forall ∀ exists ∃ nexists ∄ therefore ∴ because ∵ complement ∁
  to → gets ← rightarrow → leftarrow ← leftrightarrow ↔ nrightarrow ↛ nleftarrow ↚ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔
  nRightarrow ⇏ longrightarrow ⟶ longleftarrow ⟵ longleftrightarrow ⟷ Longrightarrow ⟹ Longleftarrow ⟸ Longleftrightarrow ⟺
  implies ⟹ impliedby ⟸ iff ⟺ mapsto ↦ longmapsto ⟼ hookrightarrow ↪ hookleftarrow ↩ twoheadrightarrow ↠ rightarrowtail ↣
  leadsto ⇝ rightsquigarrow ⇝ rightharpoonup ⇀ rightharpoondown ⇁ leftharpoonup ↼ leftharpoondown ↽ rightleftharpoons ⇌
  leftrightarrows ⇆ rightleftarrows ⇄ uparrow ↑ downarrow ↓ updownarrow ↕ Uparrow ⇑ Downarrow ⇓ Updownarrow ⇕ nearrow ↗ searrow ↘
  swarrow ↙ nwarrow ↖ circlearrowleft ↺ circlearrowright ↻ curvearrowright ↷ curvearrowleft ↶
  ldots … dots … dotsc … dotso … cdots ⋯ dotsb ⋯ dotsm ⋯ dotsi ⋯ vdots ⋮ ddots ⋱ iddots ⋰ prime ′ % % $ $ # # & & _ _
`);

/** Brackets, as commands and as they are. */
export const FENCES = {
  ...table(`
    ( ( ) ) [ [ ] ] | | / / { { } } < ⟨ > ⟩ lbrace { rbrace } lbrack [ rbrack ] langle ⟨ rangle ⟩ lvert | rvert | vert | lVert ‖ rVert ‖
    Vert ‖ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lgroup ⟮ rgroup ⟯ ulcorner ⌜ urcorner ⌝ llbracket ⟦ rrbracket ⟧ backslash \\
    uparrow ↑ downarrow ↓ updownarrow ↕ Uparrow ⇑ Downarrow ⇓
  `),
  ".": "", "\\|": "‖",
};

/** Large ones, with limits below and above; those of integrals stand beside. */
export const SUMS = table(`
  sum ∑ prod ∏ coprod ∐ int ∫ smallint ∫ iint ∬ iiint ∭ oint ∮ oiint ∯ bigcup ⋃ bigcap ⋂ bigsqcup ⨆ biguplus ⨄ bigvee ⋁ bigwedge ⋀
  bigoplus ⨁ bigotimes ⨂ bigodot ⨀
`);

/** Words with something below. */
export const LIMITS = {
  ...table("lim lim max max min min sup sup inf inf gcd gcd det det Pr Pr argmax argmax argmin argmin injlim injlim projlim projlim"),
  limsup: "lim sup", liminf: "lim inf",
};

/** Words that are drawn upright, by themselves. */
export const FUNCTIONS = (
  "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth sech csch log ln lg exp dim ker deg arg hom mod lcm sgn " +
  "sign tr rank span diag Var Cov"
).split(" ");

/** Widths in em. */
export const BLANKS = {
  ",": 0.17, ":": 0.22, ">": 0.22, ";": 0.28, "!": -0.17, " ": 0.25, "~": 0.25, quad: 1, qquad: 2, enspace: 0.5, thinspace: 0.17,
  medspace: 0.22, thickspace: 0.28, negthinspace: -0.17, space: 0.25, nobreakspace: 0.25, "\n": 0.25,
};

/** Other lengths, and what each unit is in em; no blank is wider than the longest. */
export const LENGTH = /^(-?[\d.]+)\s*(em|ex|mu|pt|cm|mm|in|px)$/;
export const EMS = { em: 1, ex: 0.5, mu: 1 / 18, pt: 0.1, cm: 2.8, mm: 0.28, in: 7.2, px: 0.075 };
export const LONGEST = 10;

/** Signs above. */
export const ACCENTS = table(`
  hat ^ widehat ^ bar ¯ vec → tilde ~ widetilde ~ dot ˙ ddot ¨ dddot ⃛ acute ´ grave \` breve ˘ check ˇ mathring ˚
  overrightarrow → overleftarrow ← overleftrightarrow ↔ overbrace ⏞ overbracket ⎴ overarc ⏜ wideparen ⏜
`);

/** Signs below. */
export const BELOW = table("underbrace ⏟ underbracket ⎵ underrightarrow → underleftarrow ←");

/** Arrows that are as wide as what stands above or below them. */
export const WIDE_ARROWS = table(`
  xrightarrow → xleftarrow ← xleftrightarrow ↔ xRightarrow ⇒ xLeftarrow ⇐ xLeftrightarrow ⇔ xmapsto ↦ xlongequal =
  xhookrightarrow ↪ xrightleftharpoons ⇌
`);

/** Kinds of letters: where those of A and of a begin among all signs, and of 0 and α; `odd` are those that stand elsewhere. */
export const STYLES = {
  mathbb: { A: 0x1d538, a: 0x1d552, 0: 0x1d7d8, odd: "CℂHℍNℕPℙQℚRℝZℤ" },
  mathbf: { A: 0x1d400, a: 0x1d41a, 0: 0x1d7ce, "Α": 0x1d6a8, "α": 0x1d6c2, odd: "" },
  boldsymbol: { A: 0x1d468, a: 0x1d482, 0: 0x1d7ce, "Α": 0x1d71c, "α": 0x1d736, odd: "" },
  mathcal: { A: 0x1d49c, a: 0x1d4b6, odd: "BℬEℰFℱHℋIℐLℒMℳRℛeℯgℊoℴ" },
  mathfrak: { A: 0x1d504, a: 0x1d51e, odd: "CℭHℌIℑRℜZℨ" },
};
Object.assign(STYLES, { bm: STYLES.boldsymbol, pmb: STYLES.boldsymbol, Bbb: STYLES.mathbb, mathscr: STYLES.mathcal, frak: STYLES.mathfrak });

/** Tables, by their brackets. */
export const GRIDS = {
  ...{ matrix: ["", ""], smallmatrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], Bmatrix: ["{", "}"] },
  ...{ vmatrix: ["|", "|"], Vmatrix: ["‖", "‖"], cases: ["{", ""], dcases: ["{", ""], rcases: ["", "}"] },
};
for (const name of "aligned align alignat alignedat flalign split gathered gather multline eqnarray equation array subarray".split(" ")) {
  GRIDS[name] = ["", ""];
}

/** Commands whose argument is text, and how that is drawn. */
export const WORDS = {
  text: "", textrm: "", textnormal: "", textup: "", mbox: "", hbox: "", textbf: "bold", textit: "slanted", emph: "slanted",
  textsf: "", texttt: "typed", textsc: "",
};
/** Commands whose argument is drawn upright. */
export const UPRIGHT = { mathrm: "", mathsf: "", mathit: "slanted", mathtt: "typed", mathnormal: "slanted" };
/** Commands that change nothing that matters here. */
export const NOTHING = (
  "displaystyle textstyle scriptstyle scriptscriptstyle limits nolimits nonumber notag strut mathstrut null relax allowbreak nobreak " +
  "protect rm bf it tt sf normalsize small large Large LARGE huge Huge / - @"
).split(" ");
/** Commands that only give their argument a place or a kind. */
export const PLAIN = (
  "mathrel mathbin mathord mathopen mathclose mathpunct mathinner ensuremath smash mathclap mathllap mathrlap llap rlap"
).split(" ");
/** Between two parts of a group. */
export const INFIX = { over: {}, choose: { linethickness: "0" }, atop: { linethickness: "0" } };
