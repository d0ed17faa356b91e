"""Which answers are one to a vote: commuted and regrouped expressions, and nothing that a grader tells apart."""

import ast
import operator
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.tasks import TASKS, same_of
from ponder.tasks.countdown import COUNTDOWN
from ponder.types import Problem

OPS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
NODES = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
Tree = int | tuple["Tree", str, "Tree"]
trees = st.recursive(
    st.integers(1, 20), lambda below: st.tuples(below, st.sampled_from([*OPS]), below), max_leaves=5
).filter(lambda tree: not isinstance(tree, int))


def value(tree: Tree) -> Fraction | None:
    """None where it divides by zero."""
    if isinstance(tree, int):
        return Fraction(tree)
    left, right = value(tree[0]), value(tree[2])
    if left is None or right is None or (tree[1] == "/" and right == 0):
        return None
    return OPS[tree[1]](left, right)


def parsed(text: str) -> Tree:
    def told(node: ast.expr) -> Tree:
        if isinstance(node, ast.BinOp):
            return told(node.left), NODES[type(node.op)], told(node.right)
        if isinstance(node, ast.UnaryOp):
            return 0, "-", told(node.operand)
        assert isinstance(node, ast.Constant) and type(node.value) is int
        return node.value

    return told(ast.parse(text, mode="eval").body)


def written(tree: Tree, rng: Random) -> str:
    """The tree with its commuting operands in any order, and spaces and signs as one may write them."""
    if isinstance(tree, int):
        return str(tree)
    left, op, right = tree
    if op in "+*" and rng.random() < 0.5:
        left, right = right, left
    sign = {"*": "×", "/": "÷", "-": "−"}.get(op, op) if rng.random() < 0.3 else op
    return f"({written(left, rng)}{rng.choice(['', ' '])}{sign}{written(right, rng)})"


def leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else leaves(tree[0]) + leaves(tree[2])


@given(trees, st.randoms(use_true_random=False))
def test_commuting_does_not_change_the_form_and_the_form_has_the_value(tree, rng) -> None:
    first, other = written(tree, rng), written(tree, rng)
    form = COUNTDOWN.same(first)
    if value(tree) is None:
        assert form == first.strip()
        return
    assert form == COUNTDOWN.same(other) == COUNTDOWN.same(f" The answer is {other}. ") == COUNTDOWN.same(form)
    assert value(parsed(form)) == value(tree)  # so that other values have other forms
    data = {"numbers": leaves(tree), "target": value(tree)}
    problem = Problem("countdown", 0, "", "", data)
    assert [COUNTDOWN.grade(problem, text).score for text in (first, other, form)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "one,other",
    [
        ("3*7+25", "25+7*3"),
        ("(3*7)+25", "25 + (7 * 3)"),
        ("(50-3)+(25-7)", "50+25-7-3"),
        ("50-(3-25)-7", "(50+25)-(7+3)"),
        ("8/(4/2)", "8*2/4"),
        ("5*(3+(2+1))", "(1+2+3)*5"),
        ("(2*3)*(4*5)", "5*4*3*2"),
    ],
)
def test_regrouping_does_not_change_the_form(one, other) -> None:
    assert COUNTDOWN.same(one) == COUNTDOWN.same(other)


@pytest.mark.parametrize("one,other", [("3*7+25", "3+7*25"), ("9-4", "4-9"), ("8/4", "4/8"), ("2*3+4", "2*(3+4)")])
def test_other_expressions_have_other_forms(one, other) -> None:
    assert COUNTDOWN.same(one) != COUNTDOWN.same(other)


@pytest.mark.parametrize(
    "text",
    ["", "no way", "3*-4", "07+3", "3*4 = 12", "*3+4", "1/0", "8/(3/(2-2))", "2**9", "(" * 5000, "9" * 3000, "1+" * 900]
    + ["((" * 12 + "1+2" + "))" * 12, "__import__('os')", "١+٢", "1\x00+2", "3+4,4+3", "1e3+1", "1+2+3+4+5+6+7"],
)
def test_what_the_grader_cannot_read_stays_as_it_is(text) -> None:
    assert COUNTDOWN.same(f" {text}\n") == text.strip()


@given(st.text(alphabet="0123456789+-*/() .=×−xa`'\"\n", max_size=24))
def test_no_text_breaks_it_and_a_form_has_its_texts_grade(text) -> None:
    form = COUNTDOWN.same(text)
    assert COUNTDOWN.same(form) == form
    numbers = [int(part) for part in "".join(c if c in "0123456789" else " " for c in form).split()]
    problem = Problem("countdown", 0, "", "", {"numbers": numbers, "target": 7})
    assert COUNTDOWN.grade(problem, form).note == COUNTDOWN.grade(problem, text).note or form == text.strip()


def test_where_nobody_knows_the_task_what_was_taught_decides() -> None:
    assert same_of(("letters:1", "countdown:2", "countdown:3"))(" 4 + 3 ") == "3+4"
    assert same_of(("letters:1", "chess:2"))(" 4 + 3 ") == same_of(())("4 + 3 ") == "4 + 3"


def test_other_tasks_compare_to_the_letter() -> None:
    for task in TASKS.values():
        assert task.same(" 4 + 3 ") == ("3+4" if task is COUNTDOWN else "4 + 3")
