"""What the figures of a run mean: ratios with their targets, tables for the terminal, and a picture."""

import statistics
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

PAIRS = (("gunicorn", "tutorial-gunicorn", 1.7), ("uwsgi", "tutorial-uwsgi", 1.5))
# As the stacks do: only media is logged.
MEMORY = {"static": "memory", "media": "memory_logged"}
IMAGE_MB = {"gunicorn": 80, "uwsgi": 95}
MB = 1_000_000
Figure = float | int | None


def at(node: Any, *path: str) -> Any:
    """Return what is at this path in nested dictionaries, None where some of it was not measured."""
    for name in path:
        if node is None:
            return None
        node = node.get(name)
    return node


def over(one: Figure, other: Figure) -> float | None:
    """Return one divided by other, None where either was not measured."""
    return None if one is None or not other else one / other


def compared(one: Any, other: Any, key: str) -> float | None:
    """Return the median of the rounds' ratios: what slowed the machine in one round slowed both alike."""
    ours, theirs = at(one, "rounds", key), at(other, "rounds", key)
    found = [value for value in map(over, ours or (), theirs or ()) if value is not None]
    return statistics.median(found) if found else None


def web_over(stack: dict[str, Any], kind: str) -> float | None:
    """Return CPU in web for a page, over what the view or the application with cold caches costs in-process."""
    rounds = at(stack, "pages", "page", "rounds", f"web_over_{kind}")
    return statistics.median(rounds) if rounds else None


def page_limit(
    stack: dict[str, Any], tutorial: dict[str, Any], passed_on: dict[str, Any] | None, cores: int
) -> float | None:
    """Return what the page's ratio would be with a server that costs nothing, the cores as full as they were.

    Then web costs what the application does in-process with cold caches, and nginx what passing on costs. All else that
    keeps the cores busy stays: the database, the load generator, Docker and the kernel.
    """
    page = at(stack, "pages", "page")
    measured = compared(page, at(tutorial, "pages", "page"), "rps")
    web, nginx = at(stack, "inprocess_us", "page", "cold"), at(passed_on, "cpu_us", "nginx")
    if None in (measured, web, nginx) or "idle" not in page:
        return None
    busy = cores * (1 - page["idle"] - page["steal"]) / page["rps"] * 1e6
    return measured * busy / (busy - (page["cpu_us"]["web"] - web) - (page["cpu_us"]["nginx"] - nginx))


def upload_ratio(stack: dict[str, Any]) -> float | None:
    """Return the time of a 20 MB upload that is not Pillow's, over that of a plain copy: the median of the rounds."""
    upload = at(stack, "uploads", "20 MB")
    if not at(upload, "parts") or upload["p50_ms"] is None:
        return None
    # A run of an earlier version has no rounds.
    whole = at(upload, "rounds", "p50_ms") or [upload["p50_ms"]]
    pairs = zip(whole, at(upload, "rounds", "parts") or [upload["parts"]], strict=True)
    return statistics.median((p50 / 1000 - parts["pillow"]) / parts["copy"] for p50, parts in pairs)


def upload_limit(stack: dict[str, Any]) -> float | None:
    """Return upload_ratio() as it would be if receiving and storing a picture cost no more than copying it."""
    parts = at(stack, "uploads", "20 MB", "parts")
    return parts and (parts["copy"] + parts["sha256"] + parts["search"] + parts["checksums"]) / parts["copy"]


def upload_growth(stack: dict[str, Any]) -> float | None:
    """Return by how many MB web's memory grows from an upload of 1 MB to 100 MB, what Pillow decodes not counted."""
    small, large = at(stack, "uploads", "1 MB"), at(stack, "uploads", "100 MB")
    if not at(small, "parts") or not at(large, "parts"):
        return None
    decoded = large["parts"]["pillow_memory"] - small["parts"]["pillow_memory"]
    return (large["web_memory"] - small["web_memory"] - decoded) / MB


def rows(results: dict[str, Any]) -> Iterator[tuple[str, Figure, str, float, str]]:
    """Yield each ratio: what it is, its value, whether it has to be at least or at most, the target, the unit."""
    stacks = results["stacks"]
    for ours, theirs, least in PAIRS:
        one, other = stacks[ours], stacks[theirs]
        page, tutorial = at(one, "pages", "page"), at(other, "pages", "page")
        yield (
            f"{ours}: page, requests/s over the tutorial's",
            compared(page, tutorial, "rps"),
            ">=",
            least,
            "x",
        )
        anew = compared(at(one, "new_connections"), at(other, "new_connections"), "rps")
        yield f"{ours}: page, over the tutorial's with a connection for each request", anew, ">=", least, "x"
        yield f"{ours}: page, p99 over the tutorial's", compared(page, tutorial, "p99_ms"), "<=", 1.0, "x"
        yield f"{ours}: page, CPU in web over the view in-process", web_over(one, "view"), "<=", 2.0, "x"
        yield f"{ours}: page, CPU in nginx", at(page, "cpu_us", "nginx"), "<=", 60, "µs"
        for kind, limit in MEMORY.items():
            name = f"{ours}: {kind} of 22 KB over nginx from memory"
            yield name, compared(at(one, "pages", kind), at(results, "limits", limit), "rps"), ">=", 0.9, "x"
        yield f"{ours}: first visit to /admin/login/", at(one, "visits", "first", "bytes"), "<=", 14_000, "bytes"
        yield f"{ours}: second visit, static requests", at(one, "visits", "second", "static_requests"), "<=", 0, ""
        yield f"{ours}: upload of 20 MB without Pillow over a copy", upload_ratio(one), "<=", 2.0, "x"
        yield f"{ours}: memory of web, upload of 100 MB beyond 1 MB", upload_growth(one), "<=", 20, "MB"
        size = over(at(one, "build", "over_base"), MB)
        yield f"{ours}: image over its base", size, "<=", IMAGE_MB[ours], "MB"
        yield f"{ours}: build after a line of code", at(one, "build", "after_a_line"), "<=", 1.0, "s"
        yield f"{ours}: build after a dependency", at(one, "build", "after_a_dependency"), "<=", 10.0, "s"
        cold = over(at(one, "build", "cold"), at(other, "build", "cold"))
        yield f"{ours}: cold build over the tutorial's", cold, "<=", 0.5, "x"
        hundred, thousand = at(one, "concurrency", "100"), at(one, "concurrency", "1000")
        yield f"{ours}: errors at 1,000 connections", at(thousand, "errors"), "<=", 0, ""
        steady = compared(thousand, hundred, "rps")
        yield f"{ours}: requests/s at 1,000 connections over 100", steady, ">=", 0.9, "x"


def reachable(results: dict[str, Any]) -> dict[str, float | None]:
    """Return by name the ratios of which a run also measures the best that servers' settings could reach on it."""
    stacks = results["stacks"]
    passed_on = at(results, "limits", "passed_on_as_pages")
    found = {}
    for ours, theirs, _ in PAIRS:
        one = stacks[ours]
        costs = at(one, "inprocess_us", "page")
        found |= {
            f"{ours}: page, requests/s over the tutorial's": page_limit(
                one, stacks[theirs], passed_on, results["machine"]["cores"]
            ),
            f"{ours}: page, CPU in web over the view in-process": over(at(costs, "cold"), at(costs, "view")),
            f"{ours}: page, CPU in nginx": at(passed_on, "cpu_us", "nginx"),
            f"{ours}: upload of 20 MB without Pillow over a copy": upload_limit(one),
            f"{ours}: cold build over the tutorial's": over(
                at(one, "build", "cold_packages"), at(stacks[theirs], "build", "cold")
            ),
        }
        for kind, limit in MEMORY.items():
            file = at(results, "limits", limit.replace("memory", "file"))
            found[f"{ours}: {kind} of 22 KB over nginx from memory"] = compared(
                file, at(results, "limits", limit), "rps"
            )
    return found


def ratios(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each ratio with its target, whether it is met, and its limit; None for what was not measured."""
    found, limits = [], reachable(results)
    for name, value, sense, target, unit in rows(results):
        met = None if value is None else (value >= target if sense == ">=" else value <= target)
        one = {"name": name, "value": value, "sense": sense, "target": target, "unit": unit, "met": met}
        found.append(one | {"limit": limits.get(name)})
    return found


# --- Tables ---


def number(value: Figure, digits: int = 0) -> str:
    """Return a number as people read it, a dash where nothing was measured."""
    return "–" if value is None else f"{value:,.{digits}f}"


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return rows of cells in columns, the first one to the left and the others to the right."""
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    rule = "  ".join("-" * width for width in widths)

    def row(cells: list[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join([row(head), rule, *map(row, lines)])


def described(results: dict[str, Any]) -> str:
    """Return date and machine in one line."""
    machine = results["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB"
    engine = f"Docker {machine['engine']}, cgroup v{machine['cgroup']}"
    quick = ", QUICK" if results["quick"] else ""
    return f"{results['date'][:10]}, {machine['cores']} cores of {machine['cpu']}, {memory}, {engine}{quick}"


def text(results: dict[str, Any]) -> str:
    """Return all tables."""
    stacks = results["stacks"]
    names = list(stacks)
    parts = [described(results)]

    def add(title: str, lines: list[list[str]], head: list[str] | None = None) -> None:
        if lines:
            parts.append(f"{title}\n\n{table(head or ['', *names], lines)}")

    def served(one: dict[str, Any] | None) -> str:
        if not one or one["rps"] is None:
            return f"refused ({one['status']})" if one and one.get("status") else "–"
        errors = f", {one['errors']:,} errors" if one.get("errors") else ""
        return f"{one['rps']:,.{0 if one['rps'] > 50 else 1}f} ({one['p50_ms']:,.1f}, {one['p99_ms']:,.1f}{errors})"

    for phase, why in results.get("failed", {}).items():
        parts.append(f"FAILED, and so not measured: {phase}: {why}")
    paths, sizes = (list(at(stacks[names[0]], what) or ()) for what in ("pages", "uploads"))
    lines = [[path, *(served(at(stacks[name], "pages", path)) for name in names)] for path in paths]
    if not results["quick"]:
        row = [served(at(stacks[name], "new_connections")) for name in names]
        lines.append(["page, the tutorials' with a database connection for each", *row])
    lines += [[f"upload {size}", *(served(at(stacks[name], "uploads", size)) for name in names)] for size in sizes]
    add(f"Requests/s (p50, p99 in ms), {results['connections']} connections; uploads one at a time", lines)
    limits = results.get("limits")

    def of_cores(kind: str) -> str:
        """Return this share of the cores' time during the page's load, by stack."""
        found = ((name, at(stacks[name], "pages", "page", kind)) for name in names)
        return ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in found if share is not None)

    # A run of an earlier version passed on as much as a file has.
    size = f"a page's {results['page_bytes']:,} bytes" if "page_bytes" in results else "22 KB"
    passed_on, seldom = at(limits, "passed_on"), at(limits, "passed_on_as_pages")
    parts.append(
        f"nginx answering 22 KB from memory: {served(at(limits, 'memory'))}; "
        f"logged: {served(at(limits, 'memory_logged'))}\n"
        f"the same from a file, and nothing else: {served(at(limits, 'file'))}; "
        f"logged: {served(at(limits, 'file_logged'))}\n"
        f"nginx as it is, passing on {size} from memory instead of from the app: {served(passed_on)}, "
        f"{number(at(passed_on, 'cpu_us', 'nginx'))} µs of its CPU for a request\n"
        f"the same, as seldom as the page is answered: {served(seldom)}, "
        f"{number(at(seldom, 'cpu_us', 'nginx'))} µs\n"
        f"Python counting on all cores at once over one alone: "
        f"{number(over(at(limits, 'cores', 'all'), at(limits, 'cores', 'one')), 2)} x\n"
        "CPU in web for a page over the application's in-process with cold caches: "
        + ", ".join(f"{ours} {number(web_over(stacks[ours], 'cold'), 2)} x" for ours, _, _ in PAIRS)
    )
    if idle := of_cores("idle"):
        parts[-1] += f"\nCores idle during the page's load: {idle}; stolen by other machines: {of_cores('steal')}"

    lines = []
    for path in paths:
        services = dict.fromkeys(one for name in names for one in at(stacks[name], "pages", path, "cpu_us") or ())
        for service in services:
            spent = [at(stacks[name], "pages", path, "cpu_us", service) for name in names]
            if any((one or 0) >= 1 for one in spent):
                lines.append([f"{path}: {service}", *map(number, spent)])
    for path in ("page", "sign-in", "database"):
        for kind, words in (
            ("view", "the view in-process"),
            ("app", "with middleware"),
            ("cold", "with middleware, caches cold"),
        ):
            lines.append([f"{path}: {words}", *(number(at(stacks[n], "inprocess_us", path, kind)) for n in names)])
    add("CPU µs for a request", lines)

    for what in ("concurrency", "workers"):
        counts = at(stacks[names[0]], what) or ()
        lines = [[count, *(served(at(stacks[name], what, count)) for name in names)] for count in counts]
        add(
            f"The page with more {'connections' if what == 'concurrency' else what}: requests/s (p50, p99 in ms)", lines
        )

    lines = []
    for moment in ("idle", "loaded"):
        services = dict.fromkeys(service for name in names for service in at(stacks[name], "memory", moment) or ())
        for service in services:
            used = [over(at(stacks[name], "memory", moment, service), 2**20) for name in names]
            lines.append([f"{moment}: {service}", *(number(one) for one in used)])
    add("Memory, MiB", lines)

    lines = [["empty volumes to ready, s", *(number(stacks[name]["ready_seconds"], 1) for name in names)]]
    for which in ("first", "second"):
        for key, words in (("bytes", "bytes of bodies"), ("requests", "requests")):
            found = [number(at(stacks[name], "visits", which, key)) for name in names]
            lines.append([f"{which} visit to /admin/login/: {words}", *found])
    lines.append(["image over its base, MB", *(number(over(at(stacks[n], "build", "over_base"), MB)) for n in names)])
    for key, words in (
        ("cold", "cold"),
        ("cold_packages", "cold, its packages alone"),
        ("after_a_line", "after a line"),
        ("after_a_dependency", "after a dependency"),
    ):
        lines.append([f"build {words}, s", *(number(at(stacks[name], "build", key), 1) for name in names)])
    add("Start, visits, images", lines)

    words = {True: "met", False: "NOT MET", None: "not measured"}
    lines = [
        [
            one["name"],
            f"{number(one['value'], 2)} {one['unit']}".strip(),
            f"{one['sense']} {one['target']:,}",
            "" if one["limit"] is None else number(one["limit"], 2),
            words[one["met"]],
        ]
        for one in ratios(results)
    ]
    add("Ratios of this run", lines, ["", "value", "target", "limit", ""])
    return "\n\n".join(parts)


# --- The picture ---

STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-weight: 600; font-size: 15px }
    .small { font-size: 11px; fill: #57606a }
    .ours { fill: #1a7f37 } .theirs { fill: #8c959f } .limit { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .small { fill: #9da7b3 }
      .ours { fill: #3fb950 } .theirs { fill: #6e7681 } .limit { fill: #58a6ff }
    }
"""
WIDTH, LABEL, BAR = 760, 210, 400


def picture(results: dict[str, Any]) -> str:
    """Return an SVG with bars: the page twice, a file, CPU for a page and the bytes of a first visit."""
    stacks = results["stacks"]

    def each(*path: str) -> list[tuple[str, Figure, str]]:
        return [(name, at(stack, *path), "theirs" if "tutorial" in name else "ours") for name, stack in stacks.items()]

    memory = ("nginx from memory", at(results, "limits", "memory", "rps"), "limit")
    spent = [
        (name, sum(costs.values()), "theirs" if "tutorial" in name else "ours")
        for name, stack in stacks.items()
        if (costs := at(stack, "pages", "page", "cpu_us"))
    ]
    groups = [
        ("The page, requests/s (more is better)", each("pages", "page", "rps")),
        ("The same, the tutorials' with a database connection for each", each("new_connections", "rps")),
        ("A static file of 22 KB, requests/s (more is better)", [*each("pages", "static", "rps"), memory]),
        ("CPU µs of all containers for one page (less is better)", spent),
        ("Bytes of a first visit to /admin/login/ (less is better)", each("visits", "first", "bytes")),
    ]
    drawn, y = [], 24
    for title, bars in groups:
        bars = [bar for bar in bars if bar[1] is not None]
        if not bars:
            continue
        drawn.append(f'<text class="title" x="12" y="{y}">{escape(title)}</text>')
        y += 12
        most = max(value for _, value, _ in bars)
        for name, value, kind in bars:
            width = max(1, round(value / most * BAR))
            drawn.append(f'<text x="{LABEL - 10}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
            drawn.append(f'<rect class="{kind}" x="{LABEL}" y="{y + 2}" width="{width}" height="14" rx="2"/>')
            drawn.append(f'<text x="{LABEL + width + 8}" y="{y + 13}">{number(value)}</text>')
            y += 20
        y += 26
    drawn.append(f'<text class="small" x="12" y="{y - 6}">{escape(described(results))}</text>')
    inner = "\n  ".join(drawn)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" width="{WIDTH}" role="img">'
    style = f"<style>{STYLE}  </style>"
    return f"{opening}\n  <title>Results of make bench</title>\n  {style}\n  {inner}\n</svg>\n"
