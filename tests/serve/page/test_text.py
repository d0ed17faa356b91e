"""Texts of a model's on the page: Markdown, formulas, and what means harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.serve.page.stage import ATTACK, expect, needs_chromium

if TYPE_CHECKING:
    from tests.serve.page.stage import Seen

pytestmark = needs_chromium
DRAWN = """async (texts) => {
  const { markdown } = await import("/page/markdown.js");
  const LEAVES = ["mi", "mo", "mn", "mtext"];
  const outline = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    const inside = [...node.childNodes].map(outline).join(LEAVES.includes(node.localName) ? "" : " ");
    const kind = node.getAttribute("class");
    if (LEAVES.includes(node.localName)) return inside;
    if (node.localName === "mspace") return "_";
    if (node.localName === "mrow" && !kind) return `[${inside}]`;
    return `${node.localName}${kind ? `.${kind}` : ""}[${inside}]`;
  };
  return texts.map((text) => {
    const whole = markdown(text);
    for (const note of whole.querySelectorAll("annotation")) note.remove();
    for (const meaning of whole.querySelectorAll("semantics")) meaning.replaceWith(...meaning.childNodes);
    return [...whole.childNodes].map(outline).join(" ");
  });
}"""
"""What texts become: elements with what is in them, rows of formulas as bare brackets, blanks as underscores."""
MARKDOWN = {
    "- a\n- b\n  - c\n    - d\n- e": "ul[li[a] li[b ul[li[c ul[li[d]]]]] li[e]]",
    "1. a\n   - b\n2. c": "ol[li[a ul[li[b]]] li[c]]",
    "- a\n\n  b\n\n- c": "ul[li[a p[b]] li[c]]",
    "[a](https://b.example) **c**": "p[a[span[a]]   strong[c]]",
    "[a](javascript:alert(1))": "p[[a](javascript:alert(1))]",
    "[a](JaVaScRiPt:alert(1)) [b](data:text/html,x) [c](//d.example)": (
        "p[[a](JaVaScRiPt:alert(1)) [b](data:text/html,x) [c](//d.example)]"
    ),
    "see https://a.example/b.": "p[see  a[https://a.example/b] .]",
    "```py\nx = 1\n  y": "pre[code[x = 1\n  y]]",
    "a\n```": "p[a] pre[code[]]",
    "``` \n<b>\n```\nc": "pre[code[<b>]] p[c]",
    "a **b": "p[a **b]",
    "a `b": "p[a `b]",
    "| a | b |\n|---|:-:|\n| `c` | 1 |": (
        "div.wide[table[thead[tr[th[a] th.middle[b]]] tbody[tr[td[code[c]] td.middle[1]]]]]"
    ),
    "| a | b |": "p[| a | b |]",
    "# a\n> b\n\n---": "h3[a] blockquote[p[b]] hr[]",
    "\\begin{align}\na &= 1 \\\\\n&= 2\n\\end{align}\nb": (
        "p[math[[mtable.aligned[mtr[mtd[a] mtd[[= 1]]] mtr[mtd[[]] mtd[[= 2]]]]]]] p[b]"
    ),
}
FORMULAS = {
    r"\frac12 + \dfrac{a}{b+c}": "[mfrac[1 2] + mfrac[a [b + c]]]",
    r"\frac{-b \pm \sqrt{b^2-4ac}}{2a}": "mfrac[[− b ± msqrt[[msup[b 2] − 4 a c]]] [2 a]]",
    r"\sqrt[3]{x+1} \sqrt 2": "[mroot[[x + 1] 3] msqrt[2]]",
    r"x_1^2 + x^{10} + {}^{14}C": "[msubsup[x 1 2] + msup[x 10] + msup[[] 14] C]",
    r"f'(x) f''^2": "[msup[f ′] ( x ) msup[f [′′ 2]]]",
    r"\sum_{i=1}^n \prod_p \int_0^\infty \int\limits_a^b": (
        "[munderover[∑ [i = 1] n] munder[∏ p] msubsup[∫ 0 ∞] munderover[∫ a b]]"
    ),
    r"\sum_{\substack{i<n \\ j<m}} a": "[munder[∑ mtable[mtr[mtd[[i < n]]] mtr[mtd[[j < m]]]]] a]",
    r"\lim_{n\to\infty} a_n": "[munder[lim [n → ∞]] msub[a n]]",
    r"\operatorname*{arg\,max}_x \mathop{\mathrm{Res}}_{z} \operatorname{lcm}(a)": (
        "[munder[arg max x] munder[[Res] z] lcm ( a )]"
    ),
    r"\log_2 n + \sin^2\theta": "[msub[log 2] n + msup[sin 2] θ]",
    r"a \lt b \gt c \leqslant d \geqslant e \le f \neq g": "[a < b > c ⩽ d ⩾ e ≤ f ≠ g]",
    r"\not= \not\in \coloneqq \triangleq \approx \equiv": "[≠ ∉ ≔ ≜ ≈ ≡]",
    r"a \equiv b \pmod{n}": "[a ≡ b [( mod _ n )]]",
    r"A^\dagger \gets B \longleftrightarrow C \implies D": "[msup[A †] ← B ⟷ C ⟹ D]",
    r"A \xrightarrow[k]{f} B \xleftarrow{g} C": "[A munderover[→ k [_ f _]] B mover[← [_ g _]] C]",
    r"\left( \frac{a}{b} \middle| c \right] \left\{ x \right.": "[[( [mfrac[a b] | c] ]] [{ x ]]",
    r"\bigl( x \bigr) \Big| \|v\| \lfloor x \rfloor": "[( x ) | ‖ v ‖ ⌊ x ⌋]",
    r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}": "[( mtable[mtr[mtd[1] mtd[0]] mtr[mtd[0] mtd[1]]] )]",
    r"\begin{array}{c|r} 1 & 2 \\ \hline 3 & 4 \\ \hline \end{array}": (
        "[mtable[mtr[mtd[1] mtd.right ruled[2]] mtr[mtd[3] mtd.right ruled[4]]]]"
    ),
    r"\begin{cases} x & \text{if } x > 0 \\[4pt] -x & \text{else} \end{cases}": (
        "[{ mtable.cases[mtr[mtd[x] mtd[[if\u00a0 x > 0]]] mtr[mtd[[− x]] mtd[else]]]]"
    ),
    r"\begin{aligned} a &= b \\ &= c \end{aligned}": (
        "[mtable.aligned[mtr[mtd[a] mtd[[= b]]] mtr[mtd[[]] mtd[[= c]]]]]"
    ),
    r"a \\ b": "mtable[mtr[mtd[a]] mtr[mtd[b]]]",
    r"\text{for $x>0$ and \textbf{more}}": "[for\u00a0 [x > 0] \u00a0and more]",
    r"\hat{x} \vec v \bar y \overline{AB} \underbrace{a+b}_{c}": (
        "[mover[x ^] mover[v →] mover[y ¯] mrow.overlined[[A B]] munder[munder[[a + b] ⏟] c]]"
    ),
    r"\mathbb{R}^n \mathbf{v} \boldsymbol{\alpha} \mathcal{O}(n) \mathrm{d}x": "[msup[ℝ n] 𝐯 𝜶 𝒪 ( n ) d x]",
    r"10\,\mathrm{m/s^2}": "[10 _ [m / msup[s 2]]]",
    r"\alpha \Omega \varepsilon \ell \infty \partial": "[α Ω ε ℓ ∞ ∂]",
    r"a\,b\quad c \hspace{1em} d \phantom{+1} e": "[a _ b _ c _ d mphantom[[+ 1]] e]",
    r"\boxed{42} \frac{\cancel{2}x}{\cancel{2}}": "[mrow.boxed[42] mfrac[[mrow.cancelled[2] x] mrow.cancelled[2]]]",
    r"\color{red}{x} + \textcolor{#f00}{y}": "[[] x + [y]]",
    r"E = mc^2 \tag{1}": "[E = m msup[c 2] [_ (1)]]",
    r"{a \over b} {n \choose k} \binom nk": "[mfrac[[a] b] [( mfrac[[n] k] )] [( mfrac[n k] )]]",
    r"1{,}000 \cdot 50\% = \$5": "[1,000 ⋅ 50 % = $ 5]",
    r"\overset{!}{=} \stackrel{\text{def}}{=} \underset{x}{\min}": "[mover[= !] mover[= def] munder[min x]]",
    r"a<b>\text{<img src=x onerror=alert(1)>}": "[a < b > <img src=x onerror=alert(1)>]",
}
UNKNOWN = (
    r"\href{javascript:window.pwned=1}{x}",
    r"\htmlData{a=b}{x} \class{c}{x} \style{color:red}{x}",
    r"\def\x{\x\x}\x",
    r"\unicode{x41}",
    r"\include{/etc/passwd}",
    r"\constructor \toString \__proto__",
    r"\begin{constructor} x \end{constructor}",
    r"\begin{cases} x \end{matrix}",
    r"\frac{1}",
    r"x_a_b",
    r"\left( x",
    "{" * 500 + "x" + "}" * 500,
    r"\sqrt" * 5000 + "x",
)


def test_a_models_text_is_only_text(seen: Seen) -> None:
    page = seen.page
    seen.ask("attack")
    seen.done()
    page.locator(".fold").click()
    assert page.evaluate("window.pwned") is None
    assert page.locator(".turn img, .turn script, .turn style, .turn [onerror], .turn a").count() == 1  # the picture
    expect(page.locator(".answer a")).to_have_attribute("href", "https://elsewhere.example/pixel.png")
    expect(page.locator(".answer strong")).to_have_text("<b>bold</b>")
    expect(page.locator(".answer")).to_contain_text("<script>window.pwned=1</script>")
    assert not [request for request in seen.wire if "elsewhere" in request]
    seen.ask(ATTACK)
    seen.done(count=2)
    page.reload()
    seen.done(count=2)
    assert page.evaluate("window.pwned") is None and not seen.complaints


def test_markdown_and_formulas(seen: Seen) -> None:
    answer = seen.page.locator(".answer")
    seen.ask("formula")
    seen.done()
    expect(answer.locator("math mfrac msqrt msup")).to_have_count(1)
    expect(answer.locator("p").first).to_contain_text("costs $5 and 2*3*4.")
    expect(answer.locator("td").nth(1)).to_have_css("text-align", "right")
    expect(answer.locator("pre code")).to_have_text("y")
    assert not answer.locator("math merror, math + code").count()


def drawn(seen: Seen, texts: list[str]) -> list[str]:
    """What they become."""
    return seen.page.evaluate(DRAWN, texts)


def test_markdown_becomes_what_it_means(seen: Seen) -> None:
    assert dict(zip(MARKDOWN, drawn(seen, list(MARKDOWN)), strict=True)) == MARKDOWN
    whole = "\n\n".join(MARKDOWN)
    while_written = drawn(seen, [whole[:end] for end in range(0, len(whole), 3)])
    assert len(while_written) > 100, "whatever is not closed yet is shown all the same"
    assert not seen.complaints


def test_formulas_become_mathml(seen: Seen) -> None:
    found = drawn(seen, [f"$${tex}$$" for tex in FORMULAS])
    assert dict(zip(FORMULAS, found, strict=True)) == {tex: f"p[math[{told}]]" for tex, told in FORMULAS.items()}


def test_units_are_upright(seen: Seen) -> None:
    seen.ask("units")
    seen.done()
    letters = seen.page.locator(".answer math mi")
    expect(letters).to_have_text(["m", "s"])
    assert {one.get_attribute("mathvariant") for one in letters.all()} == {"normal"}


def test_formulas_that_are_not_known_stay_as_they_were_written(seen: Seen) -> None:
    assert drawn(seen, [f"$${tex}$$" for tex in UNKNOWN]) == [f"p[code[{tex}]]" for tex in UNKNOWN]
    assert seen.page.evaluate("window.pwned") is None and not seen.complaints
