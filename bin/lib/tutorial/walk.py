"""walk.py [TRACK]: lead a reader through docs/tutorial/TRACK; bin/tutorial starts it and says what it heeds."""

import os
import re
import sys
from pathlib import Path

from tutorial import ROOT, Command, Excerpt, Mismatch, Page, Prose, Runner, pages, parse

WORDS = {
    "en": {
        "run": "Enter runs it, s skips it, q leaves: ",
        "reader": "(This one is yours to do; it is not run here.)",
        "background": "(It goes on in the background until the end of this page.)",
        "end": "Enter ends what runs in the background: ",
        "well": "--- as the page says",
        "go on": "Go on all the same? y or n: ",
        "left": "Left. To go on here: make tutorial TRACK={} PAGE={:.2}",
        "done": "That was the last page of {}.",
    },
    "zh": {
        "run": "按回车执行，s 跳过，q 离开：",
        "reader": "（这一步请您自己做，这里不执行。）",
        "background": "（它在后台运行，到本页结束为止。）",
        "end": "按回车结束后台运行的命令：",
        "well": "--- 与页面所说一致",
        "go on": "仍要继续吗？y 或 n：",
        "left": "已离开。要从这里继续：make tutorial TRACK={} PAGE={:.2}",
        "done": "{} 的最后一页到此结束。",
    },
}


def plain(markdown: str) -> str:
    """Return Markdown as it reads best in a terminal: links and pictures as their words."""
    return re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", markdown)


def show(text: str) -> None:
    print(text, end="", flush=True)


def walk(track: str, files: list[Path], words: dict[str, str], ask: bool) -> int:
    """Lead a reader through these pages; return the exit status."""
    runner = Runner(ROOT, show)
    file = files[0]
    try:
        with runner:
            for file in files:
                page = parse(file.relative_to(ROOT))
                print(f"\n=== {page.path} ===")
                for part in page.parts:
                    if not step(runner, page, part, words, ask):
                        print(words["left"].format(track, file.name))
                        return 1
                if runner.background and ask:
                    input(f"\n{words['end']}")
                runner.end_page()
    except (KeyboardInterrupt, EOFError):
        print("\n" + words["left"].format(track, file.name))
        return 130
    print(f"\n{words['done'].format(track)}")
    return 0


def step(runner: Runner, page: Page, part: Prose | Excerpt | Command, words: dict[str, str], ask: bool) -> bool:
    """Show one part of a page and run it if it is a command; return False to leave."""
    if not isinstance(part, Command):
        indent = "" if isinstance(part, Prose) else "    | "
        print("\n" + "\n".join(indent + line for line in plain(part.text).splitlines()))
        return True
    print("\n" + "\n".join(f"    $ {line}" for line in part.code.splitlines()))
    for mark in ("reader", "background"):
        if mark in part.marks:
            print(words[mark])
    if "reader" in part.marks:
        return True
    answer = input(words["run"]).strip().lower() if ask else ""
    if answer in ("s", "q"):
        return answer == "s"
    try:
        runner.run(page, part)
    except Mismatch as mismatch:
        print(f"\n{mismatch}")
        return ask and input(words["go on"]).strip().lower() in ("y", "yes")
    print(words["well"])
    return True


def main() -> int:
    """Read what the environment asks for; each mistake is one line."""
    track = (sys.argv[1] if len(sys.argv) > 1 else "") or "gunicorn"
    language = os.environ.get("DOCS_LANG") or os.environ.get("LANGUAGE", "")
    chinese = language.startswith("zh")
    files = pages(track, chinese) if track.isalnum() else []
    if not files:
        tracks = sorted(path.name for path in (ROOT / "docs/tutorial").iterdir() if path.is_dir())
        sys.exit(f"tutorial: there is no track '{track}'; use TRACK={' or TRACK='.join(tracks)}")
    first = os.environ.get("PAGE", "")
    names = [path.name[:2] for path in files]
    if first and first.zfill(2) not in names:
        sys.exit(f"tutorial: PAGE='{first}' is no page of {track}; use {names[0]} to {names[-1]}")
    files = files[names.index(first.zfill(2)) if first else 0 :]
    return walk(track, files, WORDS["zh" if chinese else "en"], ask=os.environ.get("YES") != "1")


if __name__ == "__main__":
    sys.exit(main())
