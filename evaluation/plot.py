"""Plots: axes and labelled points as SVG, drawn by hand so that a report needs no library and no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from opensearch_splade.evaluation.markup import Html, joined, tag

WIDTH, HEIGHT = 760, 350
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 20, 48
_LETTER, _LINE = 7.2, 15  # about the width and height of a label's letters, in pixels of the drawing
_WIDE = 4.0  # a range of which the largest is so many times the smallest has a logarithmic axis


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places.

    Attributes:
        low: The smallest value that has a place.
        high: The largest.
        start: Where the smallest is, in pixels.
        end: Where the largest is; before ``start`` on an axis that goes up.
        log: Equal ratios are equally far.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, *, log: bool = False) -> Axis:
        """With some room on both sides; logarithmic only if asked and the values are positive and far apart."""
        low, high = min(values), max(values)
        if log and low > 0 and high / low >= _WIDE:
            return cls(low / 1.25, high * 1.25, start, end, log=True)
        room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        return cls(low - room, high + room, start, end)

    def place(self, value: float) -> float:
        """Of a value, in pixels."""
        low, high, at = (log10(each) if self.log else each for each in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 6) -> list[float]:
        """Round values within the axis."""
        if self.log:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            return [
                step * 10.0**decade
                for decade in decades
                for step in (1, 2, 5)
                if self.low <= step * 10**decade <= self.high
            ]
        rough = (self.high - self.low) / count
        power = 10.0 ** floor(log10(rough))
        step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough * (1 - 1e-9))
        return [number * step for number in range(ceil(self.low / step), floor(self.high / step) + 1)]


@dataclass(frozen=True, slots=True)
class Point:
    """A mark of a scatter.

    Attributes:
        x: To the right.
        y: Up.
        label: Beside it; empty for none.
        kind: A class of the style sheet, which gives its colour.
        shape: ``circle``, ``square``, ``diamond``, ``triangle`` or ``cross``: never is a colour the only difference.
        tip: What a pointer over it shows.
    """

    x: float
    y: float
    label: str = ""
    kind: str = "plain"
    shape: str = "circle"
    tip: str = ""


def scatter(points: Sequence[Point], *, x: str, y: str, title: str, log: bool = False) -> Html:
    """Points with labels, and the line of those that none beats: no other is further left and as high.

    Args:
        points: At least one.
        x: Names the axis: less is better.
        y: Names the other: more is better.
        title: For people who cannot see it.
        log: Ask for a logarithmic x axis.
    """
    across = Axis.around([point.x for point in points], LEFT, WIDTH - RIGHT, log=log)
    up = Axis.around([point.y for point in points], HEIGHT - BOTTOM, TOP)
    best = frontier(points)
    places = [(across.place(point.x), up.place(point.y)) for point in points]
    return tag(
        "svg",
        _grid(across, up),
        tag("text", x, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, class_="axis", text_anchor="middle"),
        tag("text", y, x=LEFT - 52, y=TOP - 6, class_="axis"),
        _frontier(best, across, up),
        *_labels(points, places, _along(best, across, up)),
        *(_mark(point, *place, front=point in best) for point, place in zip(points, places, strict=True)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
        class_="plot",
    )


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats, from left to right: each is higher than all before it."""
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each.x, -each.y)):
        if not found or point.y > found[-1].y:
            found.append(point)
    return found


def number(value: float) -> str:
    """Short, with commas where it is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def decimals(values: Sequence[float]) -> int:
    """As few as tell the ticks of a linear axis apart."""
    return next((each for each in range(4) if all(abs(round(v, each) - v) < 1e-9 for v in values)), 4)


def _numbers(values: Sequence[float], *, log: bool) -> list[str]:
    """As ticks are written: on a linear axis all with the same decimals."""
    return [number(value) if log else f"{value:,.{decimals(values)}f}" for value in values]


def _grid(across: Axis, up: Axis) -> Html:
    columns, rows = across.ticks(8), up.ticks(5)

    def column(value: float, text: str) -> Html:
        at = across.place(value)
        line = tag("line", x1=at, x2=at, y1=up.end, y2=up.start, class_="grid")
        return joined([line, tag("text", text, x=at, y=up.start + 18, class_="tick", text_anchor="middle")])

    def row(value: float, text: str) -> Html:
        at = up.place(value)
        line = tag("line", x1=across.start, x2=across.end, y1=at, y2=at, class_="grid")
        return joined([line, tag("text", text, x=across.start - 8, y=at + 4, class_="tick", text_anchor="end")])

    columns_drawn = map(column, columns, _numbers(columns, log=across.log))
    return joined([*columns_drawn, *map(row, rows, _numbers(rows, log=up.log))])


def _frontier(points: Sequence[Point], across: Axis, up: Axis) -> Html:
    """As stairs: between two points one gets what the left one gives."""
    path = f"M{across.place(points[0].x):.1f} {up.place(points[0].y):.1f}"
    for point in points[1:]:
        path += f"H{across.place(point.x):.1f}V{up.place(point.y):.1f}"
    return tag("path", d=f"{path}H{across.end:.1f}", class_="frontier")


def _mark(point: Point, x: float, y: float, *, front: bool) -> Html:
    r = 5.5
    shapes = {
        "square": f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        "diamond": f"M{x:.1f} {y - 1.35 * r:.1f}l{1.35 * r} {1.35 * r}l{-1.35 * r} {1.35 * r}l{-1.35 * r} {-1.35 * r}z",
        "triangle": f"M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r} {2.1 * r}h{-2.4 * r}z",
        "cross": f"M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
    }
    kind = f"mark {point.kind}" + (" front" if front else "") + (" open" if point.shape == "cross" else "")
    tip = tag("title", point.tip) if point.tip else None
    if point.shape in shapes:
        return tag("path", tip, d=shapes[point.shape], class_=kind)
    return tag("circle", tip, cx=x, cy=y, r=r, class_=kind)


_Box = tuple[float, float, float, float]  # left, top, right, bottom


def _along(best: Sequence[Point], across: Axis, up: Axis) -> list[_Box]:
    """Where the stairs of the frontier are."""
    places = [(across.place(point.x), up.place(point.y)) for point in best]
    boxes: list[_Box] = []
    for (x, y), (right, top) in zip(places, [*places[1:], (across.end, places[-1][1])], strict=True):
        boxes += [(x, y - 2, right, y + 2), (right - 2, top, right + 2, y)]
    return boxes


def _labels(points: Sequence[Point], places: Sequence[tuple[float, float]], lines: Sequence[_Box]) -> Iterator[Html]:
    """Each label where it hides nothing: beside its point, else further away with a line to it."""
    taken: list[_Box] = [*((x - 7, y - 7, x + 7, y + 7) for x, y in places), *lines]
    for point, (x, y) in zip(points, places, strict=True):
        if not point.label:
            continue
        width = len(point.label) * _LETTER
        tried = list(_candidates(x, y, width))
        box, steps = min(tried, key=lambda one: (_overlap(one[0], taken), one[1]))
        taken.append(box)
        left, top, right, bottom = box
        # Widths are estimates, so a label is fastened where it is near its point.
        at, anchor = (left, "start") if left > x else (right, "end") if right < x else ((left + right) / 2, "middle")
        if steps > 1:
            yield tag("line", x1=x, y1=y, x2=at, y2=(top + bottom) / 2, class_="leader")
        yield tag("text", point.label, x=at, y=bottom - 3.5, text_anchor=anchor, class_=f"label {point.kind}")


def _candidates(x: float, y: float, width: float) -> Iterator[tuple[_Box, int]]:
    """Boxes for a label around a point, the nearest first."""
    for steps in range(1, 9):
        away = (steps - 1) * _LINE
        for dy in (0, -away, away):
            for left in (x + 10 + away / 2, x - 10 - away / 2 - width):
                yield (left, y + dy - _LINE / 2, left + width, y + dy + _LINE / 2), steps
        above, below = y - 9 - away - _LINE, y + 9 + away
        for top in (above, below):
            yield (x - width / 2, top, x + width / 2, top + _LINE), steps


def _overlap(box: _Box, taken: Sequence[_Box]) -> float:
    """How much of a box is hidden by others or outside of the plot, in pixels of area."""
    left, top, right, bottom = box
    inside = max(0.0, min(right, WIDTH - 4) - max(left, LEFT)) * max(0.0, min(bottom, HEIGHT - BOTTOM) - max(top, 4))
    hidden = sum(
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in taken
    )
    return round((right - left) * (bottom - top) - inside + hidden, 1)
