"""Knights and knaves: find who always tells the truth and who always lies from what each of them says.

Statements are plain lists: ``["lying", 0]`` or ``["telling-truth", 1]`` (about a person by number), ``["not", one of
these]``, or ``["and" | "or" | "->" | "<=>", one of these, another]``. How thoughts go is in knights_knaves_thoughts.
"""

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain
from ponder.tasks.knights_knaves_thoughts import OPERATORS, check_blocks, demonstrate, roles_of, said_in, solutions
from ponder.types import Grade, Problem

# fmt: off
NAMES = (
    "Emma", "Liam", "Olivia", "Noah", "Ava", "Ethan", "Sophia", "Mason", "Isabella", "William", "Mia", "James",
    "Charlotte", "Benjamin", "Amelia", "Lucas", "Harper", "Henry", "Evelyn", "Alexander", "Abigail", "Michael",
    "Emily", "Daniel", "Elizabeth", "Jacob", "Sofia", "Logan", "Avery", "Jackson", "Ella", "Sebastian", "Scarlett",
    "Jack", "Grace", "Aiden", "Chloe", "Owen", "Victoria", "Samuel", "Riley", "Matthew", "Aria", "Joseph", "Lily",
    "Luke", "Aurora", "David", "Zoey", "Oliver", "Penelope",
)
# fmt: on
ROLES = (
    ("a knight", "a knave"),
    ("a pioneer", "a laggard"),
    ("a saint", "a sinner"),
    ("a hero", "a villain"),
    ("an angel", "a devil"),
    ("an altruist", "an egoist"),
    ("a sage", "a fool"),
)
TEMPLATES = (
    "{name} said that {content}.",
    "{name} told you that {content}.",
    '{name} said, "{content}."',
    '{name} stated, "{content}".',
    'According to {name}, "{content}".',
    'In {name}\'s words: "{content}".',
    '{name} remarked, "{content}".',
    '"{content}," {name} declared.',
    '{name} was heard saying, "{content}".',
    "{name} expressed that {content}.",
    '"{content}" - {name}.',
    'As {name} put it, "{content}".',
    '{name} asserted: "{content}".',
    '"{content}," {name} mentioned.',
    '{name} commented, "{content}".',
    'In a statement by {name}: "{content}".',
    '{name} noted, "{content}".',
    '"{content}," {name} claimed.',
)
MAX_PEOPLE = 8


def _draw_statement(person: int, people: int, rng: Random, compound: bool = True) -> list[Any]:
    """One statement of a person: the same choices with the same chances as reasoning-gym's at depth and width 2."""
    kind = rng.randrange(6) if compound else 0
    if kind == 0:
        while True:
            statement = [rng.choice(("telling-truth", "lying")), rng.randrange(people)]
            if statement != ["lying", person]:
                return statement
    first = _draw_statement(person, people, rng, compound=False)
    if kind == 1:
        return ["not", first]
    second = first
    while second == first:
        second = _draw_statement(person, people, rng, compound=False)
    return [list(OPERATORS)[kind - 2], first, second]


def draw(level: int, rng: Random) -> Data:
    """Random people who say things that fit exactly one assignment of roles."""
    people = {1: 2, 2: 3, 3: 4}.get(level) or rng.randint(5, MAX_PEOPLE)
    while True:
        statements = [_draw_statement(person, people, rng) for person in range(people)]
        if len(list(solutions([said_in(statement) for statement in statements]))) == 1:
            return {
                "names": rng.sample(NAMES, people),
                "roles": list(rng.choice(ROLES)),
                "statements": statements,
                "templates": [rng.randrange(len(TEMPLATES)) for _ in range(people)],
            }


def canonical(data: Data) -> str:
    """What is said, whoever says it: up to four people are renumbered, and claims sorted where their order is free."""
    said = [said_in(statement) for statement in data["statements"]]
    people = len(said)

    def text(order: Sequence[int]) -> str:
        lines = [""] * people
        for person, one in enumerate(said):
            claims = [f"{'-+'[truthful]}{order[other]}" for other, truthful in one.claims]
            claims = claims if one.operator == "->" else sorted(claims)
            lines[order[person]] = f" {one.operator} ".join(claims)
        return "; ".join(lines)

    return min(map(text, permutations(range(people)))) if people <= 4 else text(range(people))


def _content(data: Data, statement: Sequence[Any]) -> str:
    """A statement in English, as reasoning-gym writes it."""
    said = said_in(statement)
    claims = [f"{data['names'][person]} is {data['roles'][not truthful]}" for person, truthful in said.claims]
    if said.operator == "->":
        return f"if {claims[0]} then {claims[1]}"
    return {"and": " and ", "or": " or ", "<=>": " if and only if ", None: ""}[said.operator].join(claims)


def _gym(data: Data) -> str:
    names, (a_knight, a_knave) = data["names"], data["roles"]
    knight, knave = a_knight.split()[1], a_knave.split()[1]
    said = [
        TEMPLATES[template].format(name=name, content=_content(data, statement))
        for name, statement, template in zip(names, data["statements"], data["templates"], strict=True)
    ]
    form = [f"{name} is a {knight}/{knave}" for name in names]
    return (
        f"A very special island is inhabited only by {knight}s and {knave}s. {knight.capitalize()}s always tell the "
        f"truth, and {knave}s always lie. You meet {len(names)} inhabitants: {', '.join(names[:-1])}, and {names[-1]}. "
        f"{' '.join(said)} So who is {a_knight} and who is {a_knave}? "
        f'(Format your answer like: "{", ".join(form[:-1])}, and {form[-1]}")'
    )


def _says(data: Data, form: str) -> list[str]:
    pairs = zip(data["names"], data["statements"], strict=True)
    return [form.format(name=name, content=_content(data, statement)) for name, statement in pairs]


def _rules(data: Data) -> str:
    knight, knave = (role[0].upper() + role[1:] for role in data["roles"])
    said = " ".join(_says(data, "{name} says {content}."))
    return f"{knight} always tells the truth. {knave} always lies. {said} Who is what?"


def _lines(data: Data) -> str:
    lines = "\n".join(_says(data, "{name}: {content}"))
    truthful, liar = data["roles"]
    return f"Everyone here is {truthful} (always honest) or {liar} (always lying).\n{lines}\nWhich is each?"


def _short(data: Data) -> str:
    truthful, liar = data["roles"]
    return f"Who is {truthful} (truthful) and who is {liar} (liar)? {'; '.join(_says(data, '{name} says: {content}'))}."


def _solution(data: Data) -> int:
    return next(solutions([said_in(statement) for statement in data["statements"]]))


def answer(data: Data) -> str:
    """Everybody's role, in reasoning-gym's form."""
    roles = roles_of(_solution(data), len(data["names"]))
    words = [f"{name} is {data['roles'][not role]}" for name, role in zip(data["names"], roles, strict=True)]
    return f"{', '.join(words[:-1])}, and {words[-1]}."


def _read_answer(text: str, names: Sequence[str], roles: Sequence[str]) -> dict[str, bool]:
    """Name (in lower case) to truthful: clauses such as ``Zoey is a knight`` or ``zoey: knight``, each person once."""
    text = plain(text).lower()
    for old, new in ((":", " is "), ("=", " is "), (",", " and "), (";", " and "), ("\n", " and ")):
        text = text.replace(old, new)
    meaning = {role.split()[1]: truthful for role, truthful in zip(roles, (True, False), strict=True)}
    known, found = {name.lower() for name in names}, dict[str, bool]()
    for clause in f" {text} ".replace(" and ", " and  ").split(" and "):
        words = clause.split()
        if words[2:3] in (["a"], ["an"]):
            del words[2]
        if not words:
            continue
        if len(words) != 3 or words[0] not in known or words[1] != "is" or words[2] not in meaning:
            raise AnswerUnreadable(f"not a name and a role: {clause.strip()[:60]!r}")
        if words[0] in found:
            raise AnswerUnreadable(f"{words[0]} has a role twice")
        found[words[0]] = meaning[words[2]]
    if missing := known - set(found):
        raise AnswerUnreadable(f"no role for {', '.join(sorted(missing))}")
    return found


def grade(problem: Problem, text: str) -> Grade:
    """1 for the right role of every person, each named exactly once."""
    names = problem.data["names"]
    try:
        found = _read_answer(text, names, problem.data["roles"])
    except AnswerUnreadable as err:
        return Grade(0.0, note=str(err))
    right = roles_of(_solution(problem.data), len(names))
    wrong = [name for name, role in zip(names, right, strict=True) if found[name.lower()] != role]
    return Grade(0.0, note=f"wrong role for {', '.join(wrong)}") if wrong else Grade(1.0)


def _valid_statement(statement: object, people: int, compound: bool = True) -> bool:
    if not isinstance(statement, list) or not 2 <= len(statement) <= 3 or not isinstance(statement[0], str):
        return False
    kind, *parts = statement
    if kind in ("telling-truth", "lying"):
        return len(parts) == 1 and type(parts[0]) is int and 0 <= parts[0] < people
    needed = 2 if kind in OPERATORS else 1 if kind == "not" else 0
    return compound and len(parts) == needed and all(_valid_statement(part, people, False) for part in parts)


def validate(data: Data) -> Data:
    """A user's puzzle, checked: 2-8 names, what each says, and optionally role words and wordings; one solution."""
    names, statements = data.get("names"), data.get("statements")
    if not isinstance(names, list) or not 2 <= len(names) <= MAX_PEOPLE:
        raise ProblemError(f"knights_knaves needs 2 to {MAX_PEOPLE} names, such as ['Zoey', 'Riley']")
    for name in names:
        right = isinstance(name, str) and name.isascii() and name.isalpha() and name.istitle() and len(name) <= 20
        if not right or name in ("And", "Is") or names.count(name) > 1:
            raise ProblemError(f"knights_knaves name {str(name)[:40]!r} is not a name of its own, such as 'Zoey'")
    if not isinstance(statements, list) or len(statements) != len(names):
        raise ProblemError(f"knights_knaves needs a list of {len(names)} statements, one for each name")
    for statement in statements:
        if not _valid_statement(statement, len(names)):
            raise ProblemError(
                f"knights_knaves statement {str(statement)[:80]} is not understood: write ['lying', 0] or "
                "['telling-truth', 1], ['not', one of these], or ['and' | 'or' | '->' | '<=>', one, another]"
            )
    roles = data.get("roles", list(ROLES[0]))
    if not isinstance(roles, list) or tuple(roles) not in ROLES:
        raise ProblemError(f"knights_knaves roles {str(roles)[:60]} are not one of {', '.join(map(str, ROLES))}")
    templates = data.get("templates", [0] * len(names))
    if not isinstance(templates, list) or len(templates) != len(names):
        raise ProblemError(f"knights_knaves templates {str(templates)[:60]} are not one number for each name")
    if any(type(template) is not int or not 0 <= template < len(TEMPLATES) for template in templates):
        raise ProblemError(f"knights_knaves templates {str(templates)[:60]} are not numbers below {len(TEMPLATES)}")
    if (count := len(list(solutions([said_in(statement) for statement in statements])))) != 1:
        raise ProblemError(f"knights_knaves statements fit {count} assignments of roles: exactly one is needed")
    return {"names": names, "roles": roles, "statements": statements, "templates": templates}


KNIGHTS_KNAVES = Task(
    name="knights_knaves",
    title="Find who always tells the truth and who always lies",
    levels={1: "2 people", 2: "3 people", 3: "4 people", 4: f"5-{MAX_PEOPLE} people"},
    draw=draw,
    canonical=canonical,
    phrasings=(_gym, _rules, _lines, _short),
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="knights_knaves",
)
