"""Draws line charts as SVG, for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 320, 56, 44, 16, 190
COLOURS = ("#1b6ca8", "#c8553d", "#5a8f3d", "#7b4fa3", "#b58900")


def chart(
    lines: dict[str, Sequence[float]],
    at: Sequence[float],
    *,
    across: str,
    up: str,
    ceiling: float | None = None,
) -> str:
    """One chart of all lines over `at`; values above `ceiling` are clipped to the upper edge."""
    high = ceiling or max(max(line) for line in lines.values()) * 1.05 or 1.0
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(value: float) -> float:
        return LEFT + inner_width * (value - at[0]) / ((at[-1] - at[0]) or 1)

    def y(value: float) -> float:
        return TOP + inner_height * (1 - min(value, high) / high)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for step in range(5):
        value = high * step / 4
        parts.append(
            f'<path d="M{LEFT} {y(value):.1f}h{inner_width}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
        place = at[0] + (at[-1] - at[0]) * step / 4
        parts.append(
            f'<text x="{x(place):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="middle">{place:.3g}</text>'
        )
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(a):.1f},{y(v):.1f}" for a, v in zip(at, line, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        down = TOP + 14 + 18 * number
        parts.append(
            f'<path d="M{WIDTH - RIGHT + 12} {down - 4}h18" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{WIDTH - RIGHT + 36}" y="{down}">{escape(name)}</text>'
        )
    middle = LEFT + inner_width / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>'
    )
    parts.append(
        f'<text transform="translate(14 {TOP + inner_height / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(up)}</text></svg>\n'
    )
    return "\n".join(parts)
