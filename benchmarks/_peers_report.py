"""The table and the plot of `against_peers.py`, from its JSON lines alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Row = Mapping[str, Any]
Medians = Mapping[str, float]

GOALS = ("P@1", "P@3", "P@5", "PSP@5")
_ACCURACIES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")
_DECISIONS = ("micro-F1", "macro-F1")  # of `predict`, which few libraries have
# (heading, key, whether more is better, format)
_COLUMNS: Sequence[tuple[str, str, bool, str]] = (
    *((name, name, True, ".2f") for name in _ACCURACIES + _DECISIONS),
    ("fit CPU s", "fit_cpu_s", False, ",.1f"),
    ("fit s", "fit_s", False, ",.1f"),
    ("predict CPU s", "predict_cpu_s", False, ",.2f"),
    ("predict s", "predict_s", False, ",.2f"),
    ("rows/s", "rows_per_s", True, ",.0f"),
    ("peak MiB", "peak_mib", False, ",.0f"),
    ("disk MiB", "disk_mib", False, ",.1f"),
)
_YARDSTICK = "omikuji Bonsai"  # whose seconds the summary compares with
_BLUE, _GREY = "#0059a8", "#6b6b6b"
_MARKERS = "osD^v<>pPXdh*8"


def medians_by_set(rows: Sequence[Row]) -> dict[str, dict[str, Medians]]:
    """Medians over the repeats of every method on every set."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in _latest(rows):
        if row["status"] == "ok":
            groups.setdefault((row["set"], row["method"]), []).append(row)
    found: dict[str, dict[str, Medians]] = {}
    for (name, method), repeats in groups.items():
        found.setdefault(name, {})[method] = {
            key: median(row[key] for row in repeats)
            for _, key, _, _ in _COLUMNS
            if all(key in row for row in repeats)
        }
    return found


def _latest(rows: Sequence[Row]) -> list[Row]:
    """The last row of each (set, method, repeat) that was run as the last of its method was."""
    last = {(row["set"], row["method"]): _circumstances(row) for row in rows}
    return [
        row
        for row in {(row["set"], row["method"], row["repeat"]): row for row in rows}.values()
        if last[row["set"], row["method"]] == _circumstances(row)
    ]


def _circumstances(row: Row) -> tuple[Any, ...]:
    """What must agree for a median to mean something."""
    return row["parameters"], row["threads"], row["machine"], row["train_rows"], row["test_rows"]


def markdown(rows: Sequence[Row]) -> str:
    """The whole page: how it was measured, the summary, a table for each set."""
    medians = medians_by_set(rows)
    parts = [
        "# Against the peers\n",
        "Made by `benchmarks/against_peers.py` from `against_peers.jsonl`; not written by hand.\n",
        _conditions(rows),
        _summary(rows, medians),
        *(_set_table(name, rows, medians.get(name, {})) for name in _sets(rows)),
    ]
    return "\n".join(parts)


def _sets(rows: Sequence[Row]) -> list[str]:
    """Names of the sets, fewest labels first."""
    sizes = {row["set"]: row["labels"] for row in rows}
    return sorted(sizes, key=lambda name: sizes[name])


def _conditions(rows: Sequence[Row]) -> str:
    """Machine, threads, repeats, dates and versions."""
    done = [row for row in _latest(rows) if row["status"] == "ok"]
    if not done:
        return "Nothing was measured.\n"
    dates = sorted({row["date"] for row in done})
    repeats = sorted({_n_repeats(done, name) for name in _sets(done)})
    lines = [
        f"- Machine: {'; '.join(sorted({row['machine'] for row in done}))}",
        f"- Threads: {', '.join(map(str, sorted({row['threads'] for row in done})))}, the same for "
        "every method; each run in a process of its own, the methods taking turns",
        f"- Repeats: {' to '.join(map(str, dict.fromkeys((repeats[0], repeats[-1]))))}"
        + (", the tables show medians" if repeats[-1] > 1 else ""),
        f"- Date: {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else ""),
        *_environments(done),
        *_on_decisions(done),
        "- TF-IDF is a part of the peers' fit and predict, as the vocabulary is of ours; peak MiB "
        "is memory over what was held once the data were loaded; rows/s are by the wall clock; "
        "bold is the best of a column\n",
    ]
    return "\n".join(lines)


def _on_decisions(rows: Sequence[Row]) -> list[str]:
    if not any(name in row for row in rows for name in _DECISIONS):
        return []
    return [
        "- micro-F1 (of all pairs) and macro-F1 (the mean of the labels that a test text has) are "
        "of the library's own `predict`, where it has one"
    ]


def _n_repeats(rows: Sequence[Row], name: str) -> int:
    """How often a set's methods were run; the fewest where they differ."""
    counts = Counter(row["method"] for row in rows if row["set"] == name)
    return min(counts.values(), default=0)


def _environments(rows: Sequence[Row]) -> list[str]:
    """Versions of the environment that most methods ran in, and of the others'."""
    methods: dict[str, set[str]] = {}
    for row in rows:
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        methods.setdefault(versions, set()).add(row["method"])
    most, *others = sorted(methods, key=lambda versions: -len(methods[versions]))
    lines = [f"- Versions for {', '.join(sorted(methods[other]))}: {other}" for other in others]
    return [f"- Versions: {most}", *lines]


def _set_table(name: str, rows: Sequence[Row], medians: Mapping[str, Medians]) -> str:
    """The table of one set; below it, why a method is missing."""
    [head, *_] = [row for row in rows if row["set"] == name]
    n_repeats = _n_repeats([row for row in _latest(rows) if row["status"] == "ok"], name)
    lines = [
        f"## {name}: {head['labels']:,} labels, {head['train_rows']:,} training and "
        f"{head['test_rows']:,} test rows"
        + (f"; medians of {n_repeats} runs" * (n_repeats > 1))
        + "\n"
    ]
    if medians:
        best = {
            key: (max if is_more else min)(values)
            for _, key, is_more, _ in _COLUMNS
            if (values := [found[key] for found in medians.values() if key in found])
        }
        headings = ["method", *(heading for heading, key, *_ in _COLUMNS if key in best)]
        lines += ["| " + " | ".join(headings) + " |", "|---|" + "---:|" * len(best)]
        ours = {row["method"] for row in rows if row["is_ours"]}
        by_accuracy = sorted(medians, key=lambda m: (m not in ours, -medians[m]["P@1"]))
        lines += [_table_row(method, medians[method], best) for method in by_accuracy]
    missing = {
        row["method"]: f"- {row['method']}: {row['status']}, {row['reason']}"
        for row in _latest(rows)
        if row["set"] == name and row["method"] not in medians
    }
    return "\n".join([*lines, "", *missing.values(), ""] if missing else [*lines, ""])


def _table_row(method: str, found: Medians, best: Medians) -> str:
    """A line of the table, bold where it equals the best as printed."""
    cells = [method]
    for _, key, _, style in _COLUMNS:
        if key not in found:
            cells += ["-"] * (key in best)
            continue
        text = format(found[key], style)
        cells.append(f"**{text}**" if text == format(best[key], style) else text)
    return "| " + " | ".join(cells) + " |"


def _summary(rows: Sequence[Row], medians: Mapping[str, Mapping[str, Medians]]) -> str:
    """The best of the three on each set beside the best peer of each measure."""
    ours = {row["method"] for row in rows if row["is_ours"]}
    short = {row["method"]: row["short"] for row in rows}
    lines = []
    for name in _sets(rows):
        found = medians.get(name, {})
        peers = {method: values for method, values in found.items() if method not in ours}
        of_ours = [method for method in found if method in ours]
        if of_ours and peers:
            best = max(of_ours, key=lambda method: sum(found[method][goal] for goal in GOALS))
            lines.append(_summary_row(name, best, found[best], peers, short))
    if not lines:
        return ""
    yardstick = _YARDSTICK.split()[-1]
    headings = ["set", "best of the three", *GOALS, f"fit CPU s / {yardstick}'s"]
    headings.append(f"rows/s / {yardstick}'s")
    return "\n".join(
        [
            "## The best of the three beside the best peer\n",
            "One of our estimators a set (the highest sum of the four measures), and in each "
            "measure the peer that is best at it; bold where ours is not behind.\n",
            "| " + " | ".join(headings) + " |",
            "|---|---|" + "---:|" * (len(headings) - 2),
            *lines,
            "",
        ]
    )


def _summary_row(
    name: str,
    best: str,
    ours: Medians,
    peers: Mapping[str, Medians],
    short: Mapping[str, str],
) -> str:
    """A line of the summary."""
    cells = [name, best]
    for goal in GOALS:
        peer = max(peers, key=lambda method: peers[method][goal])
        value, other = f"{ours[goal]:.2f}", f"{peers[peer][goal]:.2f}"
        is_ahead = float(value) >= float(other)
        cells.append(f"{'**' + value + '**' if is_ahead else value} / {other} ({short[peer]})")
    for key, sign, form in (("fit_cpu_s", -1, ",.1f"), ("rows_per_s", 1, ",.0f")):
        if _YARDSTICK not in peers:
            cells.append("-")
            continue
        cost, yardstick = ours[key], peers[_YARDSTICK][key]
        text = f"{cost:{form}} / {yardstick:{form}}"
        cells.append(f"**{text}**" if sign * cost >= sign * yardstick else text)
    return "| " + " | ".join(cells) + " |"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against CPU seconds to fit, a panel a set, a marker a method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    medians = medians_by_set(rows)
    names = [name for name in _sets(rows) if name in medians]
    short = {row["method"]: row["short"] for row in rows}
    ours = {row["method"] for row in rows if row["is_ours"]}
    markers = {method: _MARKERS[i % len(_MARKERS)] for i, method in enumerate(short)}
    n_rows = -(-len(names) // 2)
    figure = Figure(figsize=(9, 3.3 * n_rows), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, 2, squeeze=False).ravel()
    for ax, name in zip(axes, names, strict=False):
        _panel(ax, medians[name], short, ours, markers)
        ax.set_title(name, fontsize=10, loc="left")
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    figure.supxlabel("CPU seconds to fit (log scale)", fontsize=10)
    figure.supylabel("P@1, %", fontsize=10)
    figure.canvas.draw()  # fixes the layout, which the labels' places are computed in
    figure.set_layout_engine("none")
    for ax, name in zip(axes, names, strict=False):
        _label_points(ax, medians[name], short, ours)
    figure.savefig(path)


def _panel(
    ax: Any,
    medians: Mapping[str, Medians],
    short: Mapping[str, str],
    ours: set[str],
    markers: Mapping[str, str],
) -> None:
    """One set's points."""
    for method in short:
        if method not in medians:
            continue
        is_ours = method in ours
        ax.plot(
            medians[method]["fit_cpu_s"],
            medians[method]["P@1"],
            markers[method],
            color=_BLUE if is_ours else _GREY,
            markerfacecolor=_BLUE if is_ours else "white",
            markersize=7 if is_ours else 6,
            zorder=3,
        )
    ax.set_xscale("log")
    ax.margins(x=0.22, y=0.12)  # room for the labels
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _label_points(
    ax: Any, medians: Mapping[str, Medians], short: Mapping[str, str], ours: set[str]
) -> None:
    """Write each method's name beside its point, where it hides the least."""
    from matplotlib.transforms import Bbox

    points = {
        method: ax.transData.transform((found["fit_cpu_s"], found["P@1"]))
        for method, found in medians.items()
    }
    unit = ax.figure.dpi / 72  # a typographic point in pixels
    taken = [
        Bbox.from_bounds(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit) for x, y in points.values()
    ]
    renderer = ax.figure.canvas.get_renderer()
    places = [
        (dx, dy, side)
        for dy in (0, 8, -8, 14, -14, 20, -20, 26, -26)
        for dx, side in ((7, "left"), (-7, "right"), (0, "center"))
        if dx or dy
    ]
    for method in sorted(points, key=lambda m: (m not in ours, -points[m][1])):
        trials = []
        for dx, dy, side in places:
            text = ax.annotate(
                short[method],
                (medians[method]["fit_cpu_s"], medians[method]["P@1"]),
                (dx, dy),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7.5,
                color=_BLUE if method in ours else "#333333",
                fontweight="bold" if method in ours else "normal",
            )
            box = text.get_window_extent(renderer)
            hidden = sum(_common_area(box, other) for other in taken)
            outside = box.width * box.height - _common_area(box, ax.bbox)
            trials.append((hidden + outside, abs(dx) + abs(dy), text, box))
        *_, chosen, box = min(trials, key=lambda trial: trial[:2])
        for *_, text, _ in trials:
            if text is not chosen:
                text.remove()
        taken.append(box)


def _common_area(a: Any, b: Any) -> float:
    """Pixels that two boxes share."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)
