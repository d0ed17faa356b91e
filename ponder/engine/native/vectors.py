"""What kernels do with vectors, as LLVM's instructions: numba would leave it to chance whether a loop becomes these.

Rows stand side by side, LANES of them in a block: feature after feature, and of each feature a number for every lane.
Each lane's sums are taken in one order, whatever its neighbours are, so that a row comes to the same bits alone and in
any batch. Addresses and counts are integers; counts are of numbers, not bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ponder.engine.native.compiling import DOUBLE, INTEGER, LANES, NOTHING, REAL, emitted

I32, I64 = ir.IntType(32), ir.IntType(64)
HALF = 8
"""Numbers of a vector where attention reads a head: sizes of heads are multiples of it."""
LINE = 16
"""Numbers that come from memory together."""
SECOND = 2
"""How near the cache is to which memory is brought ahead: the first one is too small for a row's keys, and fetching
them into it won half as much (`LOG.md`)."""
_EVEN, _ODD = (0, 2, 8, 10, 4, 6, 12, 14), (1, 3, 9, 11, 5, 7, 13, 15)
_PAIRS = (_EVEN, _ODD), (_EVEN, _ODD), ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
"""Which lanes are added to sum eight vectors up: within their halves first, which is one instruction."""


def at(number: int) -> ir.Constant:
    """A constant index."""
    return ir.Constant(I64, number)


@dataclass(frozen=True)
class Vectors:
    """Vectors of one kind, and what is done with them."""

    builder: Any
    width: int
    double: bool = False

    @property
    def scalar(self) -> Any:
        return ir.DoubleType() if self.double else ir.FloatType()

    @property
    def kind(self) -> Any:
        return ir.VectorType(self.scalar, self.width)

    @property
    def integers(self) -> Any:
        return ir.VectorType(I64 if self.double else I32, self.width)

    def constant(self, value: float) -> ir.Constant:
        """The same number in each lane."""
        return ir.Constant(self.kind, [value] * self.width)

    def pointer(self, address: Any, offset: Any) -> Any:
        """To the number at an offset from an address."""
        return self.builder.gep(self.builder.inttoptr(address, self.scalar.as_pointer()), [offset])

    def load(self, address: Any, offset: Any) -> Any:
        """A vector from memory."""
        pointer = self.builder.bitcast(self.pointer(address, offset), self.kind.as_pointer())
        return self.builder.load(pointer, align=8 if self.double else 4)

    def store(self, vector: Any, address: Any, offset: Any) -> None:
        """A vector to memory."""
        pointer = self.builder.bitcast(self.pointer(address, offset), self.kind.as_pointer())
        self.builder.store(vector, pointer, align=8 if self.double else 4)

    def spread(self, number: Any) -> Any:
        """A scalar in each lane."""
        one = self.builder.insert_element(ir.Constant(self.kind, ir.Undefined), number, ir.Constant(I32, 0))
        return self.shuffled(one, one, [0] * self.width)

    def spread_from(self, address: Any, offset: Any) -> Any:
        """A number from memory in each lane."""
        return self.spread(self.builder.load(self.pointer(address, offset)))

    def shuffled(self, left: Any, right: Any, lanes: Sequence[int]) -> Any:
        """These lanes of both."""
        return self.builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    def called(self, name: str, *vectors: Any) -> Any:
        """One of LLVM's own functions."""
        kind = ir.FunctionType(self.kind, [self.kind] * len(vectors))
        suffix = f"v{self.width}f{64 if self.double else 32}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.{suffix}")
        return self.builder.call(function, vectors)

    def fetch(self, address: Any, offset: Any) -> None:
        """Brings the line of memory with this number near, without waiting for it; any address will do."""
        pointer = self.builder.bitcast(self.pointer(address, offset), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, [pointer, *(ir.Constant(I32, number) for number in (0, SECOND, 1))])

    def fused(self, left: Any, right: Any, more: Any) -> Any:
        """left * right + more, rounded once."""
        return self.called("fma", left, right, more)

    def larger(self, left: Any, right: Any) -> Any:
        """The larger of both; `left` where either is no number."""
        return self.builder.select(self.builder.fcmp_ordered("<", left, right), right, left)

    def exp(self, x: Any) -> Any:
        """To the last bit or two; 0 for what is too small, and no number for what is none."""
        b, bits = self.builder, 52 if self.double else 23
        low, high, bias, terms = (-708.0, 709.0, 1023, 13) if self.double else (-87.0, 88.0, 127, 7)
        shift = self.constant(1.5 * 2.0**bits)  # adding it rounds to a whole number, which stands in the last bits
        x = b.select(b.fcmp_ordered(">", x, self.constant(high)), self.constant(high), x)
        rounded = self.fused(x, self.constant(math.log2(math.e)), shift)
        whole = b.fsub(rounded, shift)
        first = 0.693359375  # ln 2 in two parts: the first has so few bits that its multiples are exact
        rest = self.fused(whole, self.constant(-first), x)
        rest = self.fused(whole, self.constant(first - math.log(2)), rest)
        found = self.constant(1 / math.factorial(terms))
        for term in reversed(range(terms)):
            found = self.fused(found, rest, self.constant(1 / math.factorial(term)))
        number = b.add(b.bitcast(rounded, self.integers), ir.Constant(self.integers, [bias] * self.width))
        power = b.shl(number, ir.Constant(self.integers, [bits] * self.width))
        found = b.fmul(found, b.bitcast(power, self.kind))
        return b.select(b.fcmp_ordered("<", x, self.constant(low)), self.constant(0.0), found)

    def variable(self, start: Any) -> Any:
        """Something that a loop changes."""
        return cgutils.alloca_once_value(self.builder, start)

    def total(self, vector: Any) -> Any:
        """The sum of its lanes, neighbours first."""
        return self.folded(vector, self.builder.fadd)

    def folded(self, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
        """Its lanes joined to one number, neighbours first."""
        width = self.width
        while width > 1:
            width //= 2
            left, right = (self.shuffled(vector, vector, range(side, 2 * width, 2)) for side in (0, 1))
            vector = join(left, right)
        return self.builder.extract_element(vector, ir.Constant(I32, 0))


def loop(builder: Any, count: Any) -> Any:
    """A loop as a context; its `index` counts from 0."""
    return cgutils.for_range(builder, count)


@emitted(REAL, INTEGER, INTEGER)
def get(b: Any, address: Any, offset: Any) -> Any:
    """A number from memory."""
    return b.load(Vectors(b, 1).pointer(address, offset))


@emitted(NOTHING, INTEGER, INTEGER, REAL)
def put(b: Any, address: Any, offset: Any, value: Any) -> None:
    """A number to memory."""
    b.store(value, Vectors(b, 1).pointer(address, offset))


@emitted(INTEGER, INTEGER, INTEGER)
def get_whole(b: Any, address: Any, offset: Any) -> Any:
    """A 64-bit integer from memory."""
    return b.load(b.gep(b.inttoptr(address, I64.as_pointer()), [offset]))


@emitted(NOTHING, INTEGER, INTEGER, INTEGER)
def put_whole(b: Any, address: Any, offset: Any, value: Any) -> None:
    """A 64-bit integer to memory."""
    b.store(value, b.gep(b.inttoptr(address, I64.as_pointer()), [offset]))


@emitted(DOUBLE, INTEGER, INTEGER)
def block_total(b: Any, numbers: Any, offset: Any) -> Any:
    """The sum of LANES numbers of double precision."""
    v = Vectors(b, LANES, double=True)
    return v.total(v.load(numbers, offset))


def product(rows: int, width: int) -> Callable[..., Any]:
    """Adds to `rows` features of one block a product of so many rows of a weight, for its first `width` lanes.

    (weight, inputs, block of inputs, block of outputs).
    """

    @emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER)
    def add(b: Any, weight: Any, count: Any, inputs: Any, outputs: Any) -> None:
        v = Vectors(b, width)
        sums = [v.variable(v.load(outputs, at(row * LANES))) for row in range(rows)]

        def one(feature: Any) -> None:
            x = v.load(inputs, b.mul(feature, at(LANES)))
            for row, total in enumerate(sums):
                w = v.spread_from(weight, b.add(b.mul(count, at(row)), feature))
                b.store(v.fused(w, x, b.load(total)), total)

        fours = b.udiv(count, at(4))
        ahead = b.mul(count, at(rows))
        with loop(b, fours) as turn:
            for number in range(4):
                feature = b.add(b.mul(turn.index, at(4)), at(number))
                if rows == LINE:  # so the next rows of the weight are near when it is their turn
                    v.fetch(weight, b.add(ahead, b.mul(feature, at(LINE))))
                one(feature)
        done = b.mul(fours, at(4))
        with loop(b, b.sub(count, done)) as turn:
            one(b.add(done, turn.index))
        for row, total in enumerate(sums):
            v.store(b.load(total), outputs, at(row * LANES))

    return add


@emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER, REAL)
def norm(b: Any, inputs: Any, weight: Any, outputs: Any, count: Any, eps: Any) -> None:
    """RMSNorm over `count` features of one block; inputs and outputs may be the same."""
    v = Vectors(b, LANES)
    squares = v.variable(v.constant(0.0))
    with loop(b, count) as turn:
        x = v.load(inputs, b.mul(turn.index, at(LANES)))
        b.store(v.fused(x, x, b.load(squares)), squares)
    size = v.spread(b.uitofp(count, v.scalar))
    scale = v.called("sqrt", b.fadd(b.fdiv(b.load(squares), size), v.spread(eps)))
    scale = b.fdiv(v.constant(1.0), scale)
    with loop(b, count) as turn:
        offset = b.mul(turn.index, at(LANES))
        x = b.fmul(v.load(inputs, offset), scale)
        v.store(b.fmul(x, v.spread_from(weight, turn.index)), outputs, offset)


@emitted(NOTHING, INTEGER, INTEGER, INTEGER)
def rotate(b: Any, features: Any, turns: Any, half: Any) -> None:
    """Rotary embedding of one head of one block, in place; `turns` holds `half` cosines, then as many sines."""
    v = Vectors(b, LANES)
    with loop(b, half) as turn:
        first, second = b.mul(turn.index, at(LANES)), b.mul(b.add(turn.index, half), at(LANES))
        x, y, cos, sin = v.load(features, first), v.load(features, second), v.load(turns, first), v.load(turns, second)
        v.store(v.fused(b.fneg(y), sin, b.fmul(x, cos)), features, first)
        v.store(v.fused(x, sin, b.fmul(y, cos)), features, second)


@emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER)
def gate(b: Any, gates: Any, ups: Any, outputs: Any, count: Any) -> None:
    """silu(gate) * up, for `count` features of one block."""
    v = Vectors(b, LANES)
    with loop(b, count) as turn:
        offset = b.mul(turn.index, at(LANES))
        x = v.load(gates, offset)
        below = b.fadd(v.exp(b.fneg(x)), v.constant(1.0))
        v.store(b.fmul(b.fdiv(x, below), v.load(ups, offset)), outputs, offset)


def scores(queries: int) -> Callable[..., Any]:
    """One or two queries times each key; writes up to HALF - 1 numbers more than there are keys.

    (queries; keys, of `dim` numbers each; outputs, from one query to the next; dim; count of keys; other keys, which
    are brought near meanwhile).
    """
    keys_at_once = HALF // queries

    @emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER)
    def write(b: Any, query: Any, keys: Any, outputs: Any, apart: Any, dim: Any, count: Any, ahead: Any) -> None:
        v, last = Vectors(b, HALF), b.sub(count, at(1))
        with loop(b, b.udiv(b.add(count, at(keys_at_once - 1)), at(keys_at_once))) as turn:
            first = b.mul(turn.index, at(keys_at_once))
            rows = [b.add(first, at(number)) for number in range(keys_at_once)]
            starts = [b.mul(b.select(b.icmp_signed("<", row, last), row, last), dim) for row in rows]
            sums = [v.variable(v.constant(0.0)) for _ in range(HALF)]
            with loop(b, b.udiv(dim, at(HALF))) as inner:
                offset = b.mul(inner.index, at(HALF))
                found = [v.load(keys, b.add(start, offset)) for start in starts]
                for line in range(0, HALF * keys_at_once, LINE):
                    done = b.add(b.mul(first, dim), b.mul(inner.index, at(HALF * keys_at_once)))
                    v.fetch(ahead, b.add(done, at(line)))
                for one in range(queries):
                    q = v.load(query, b.add(b.mul(dim, at(one)), offset))
                    for key, total in zip(found, sums[one * keys_at_once :], strict=False):
                        b.store(v.fused(q, key, b.load(total)), total)
            found = [b.load(total) for total in sums]
            for left, right in _PAIRS:  # neighbouring lanes of two vectors at a time become one vector
                twos = zip(found[::2], found[1::2], strict=True)
                found = [b.fadd(v.shuffled(one, two, left), v.shuffled(one, two, right)) for one, two in twos]
            part = Vectors(b, keys_at_once)
            for one in range(queries):
                mine = v.shuffled(found[0], found[0], range(one * keys_at_once, (one + 1) * keys_at_once))
                part.store(mine, outputs, b.add(b.mul(apart, at(one)), first))

    return write


@emitted(REAL, INTEGER, INTEGER)
def exponentials(b: Any, numbers: Any, count: Any) -> Any:
    """exp(x - the largest x), in place, of a multiple of LANES numbers; returns their sum."""
    return _exponentials(b, Vectors(b, LANES), numbers, count)


@emitted(DOUBLE, INTEGER, INTEGER)
def double_exponentials(b: Any, numbers: Any, count: Any) -> Any:
    """The same with double precision."""
    return _exponentials(b, Vectors(b, LANES, double=True), numbers, count)


def _exponentials(b: Any, v: Vectors, numbers: Any, count: Any) -> Any:
    turns = b.udiv(count, at(LANES))
    most, total = v.variable(v.load(numbers, at(0))), v.variable(v.constant(0.0))
    with loop(b, turns) as turn:
        b.store(v.larger(b.load(most), v.load(numbers, b.mul(turn.index, at(LANES)))), most)
    top = v.spread(v.folded(b.load(most), v.larger))
    with loop(b, turns) as turn:
        offset = b.mul(turn.index, at(LANES))
        found = v.exp(b.fsub(v.load(numbers, offset), top))
        v.store(found, numbers, offset)
        b.store(b.fadd(b.load(total), found), total)
    return v.total(b.load(total))


def weighed(queries: int, width: int) -> Callable[..., Any]:
    """Adds to `width` numbers of each of so many outputs the values, each times its weight.

    (weights, from one query to the next; values, dim; outputs, which are `dim` apart; count; other values, which are
    brought near meanwhile).
    """
    size = LANES if width % LANES == 0 else HALF

    @emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER)
    def add(b: Any, weights: Any, apart: Any, values: Any, dim: Any, outputs: Any, count: Any, ahead: Any) -> None:
        v, parts = Vectors(b, size), range(0, width, size)
        places = [(query, part) for query in range(queries) for part in parts]
        starts = [b.add(b.mul(dim, at(query)), at(part)) for query, part in places]
        sums = [v.variable(v.constant(0.0)) for _ in places]
        for start, total in zip(starts, sums, strict=True):
            b.store(v.load(outputs, start), total)
        with loop(b, count) as turn:
            row = b.mul(turn.index, dim)
            for part in range(0, width, LINE):
                v.fetch(ahead, b.add(row, at(part)))
            found = {part: v.load(values, b.add(row, at(part))) for part in parts}
            shares = [v.spread_from(weights, b.add(b.mul(apart, at(query)), turn.index)) for query in range(queries)]
            for (query, part), total in zip(places, sums, strict=True):
                b.store(v.fused(shares[query], found[part], b.load(total)), total)
        for start, total in zip(starts, sums, strict=True):
            v.store(b.load(total), outputs, start)

    return add
